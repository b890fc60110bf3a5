//! What a topic lacks: a run that was killed goes on where the last one was.

use std::collections::HashMap;
use std::time::Duration;

use common::Failure;
use ottla::{Broker, Json};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::PARTITIONS;

/// The ones of `all` that the topic lacks. What it holds must be a beginning of them, key by key, or the log
/// is of another input.
pub(crate) fn lacking<'a, T>(
    broker: &Broker,
    topic: &str,
    all: &'a [T],
    key: impl Fn(&'a T) -> &'a str,
) -> Result<Vec<&'a T>, Failure>
where
    T: Serialize + DeserializeOwned + PartialEq + 'static,
{
    let mut all_by_key: HashMap<&str, Vec<&T>> = HashMap::new();
    for one in all {
        all_by_key.entry(key(one)).or_default().push(one);
    }
    let mut held: HashMap<String, usize> = HashMap::new();
    let mut reader = broker.consumer::<String, Json<T>>().assign(topic, 0..PARTITIONS).build()?;
    while reader.lag() > 0 {
        for record in &reader.poll(Duration::ZERO)? {
            let (key, value) = (record.key()?, record.value()?);
            let count = held.entry(key.to_owned()).or_default();
            if all_by_key.get(key).and_then(|all| all.get(*count)) != Some(&&value) {
                let (partition, offset) = (record.partition(), record.offset());
                return Err(format!(
                    "the log is of another input: partition {partition} of {topic} has something else \
                     at offset {offset}, under the key {key}"
                )
                .into());
            }
            *count += 1;
        }
    }
    let is_lacking = |one: &&'a T| match held.get_mut(key(one)) {
        Some(count) if *count > 0 => {
            *count -= 1;
            false
        }
        _ => true,
    };
    Ok(all.iter().filter(is_lacking).collect())
}
