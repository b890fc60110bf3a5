//! Compares the claims in the database with two others: those that come out where the topic is read again
//! from its beginning, and those of a loop over the file.

use std::collections::BTreeMap;
use std::time::Duration;

use common::{Failure, expect};
use database::Database;
use ottla::{Broker, Json};

use super::CLAIMS;
use super::claim::{Claim, Event, News, State};
use super::desk;
use crate::PARTITIONS;

type Claims = BTreeMap<String, Claim>;

/// Compares; what there was to see.
pub(crate) fn check(broker: &Broker, database: &mut Database, events: &[Event]) -> Result<String, Failure> {
    let live: Claims = desk::claims(database)?.into_iter().collect();
    let rebuilt = rebuild(broker)?;
    let mut expected = Claims::default();
    events.iter().for_each(|event| apply(&mut expected, event.claim.clone(), event.news));
    let mismatches = differences(&live, &rebuilt) + differences(&live, &expected);
    expect("claims that are not as the topic and the file tell", mismatches, 0)?;
    print_states(&live);
    let in_state = |state| live.values().filter(|claim| claim.state == state).count();
    Ok(format!(
        "claims={} events={} paid={} denied={} refused={} mismatches={mismatches}",
        live.len(),
        events.len(),
        in_state(State::Paid),
        in_state(State::Denied),
        live.values().map(|claim| claim.refused).sum::<i64>(),
    ))
}

/// From offset 0, as a reader who belongs to no group.
fn rebuild(broker: &Broker) -> Result<Claims, Failure> {
    let mut claims = Claims::default();
    let mut reader = broker.consumer::<String, Json<Event>>().assign(CLAIMS, 0..PARTITIONS).build()?;
    reader.seek_to_beginning();
    while reader.lag() > 0 {
        for record in &reader.poll(Duration::ZERO)? {
            apply(&mut claims, record.key()?.to_owned(), record.value()?.news);
        }
    }
    Ok(claims)
}

fn apply(claims: &mut Claims, id: String, news: News) {
    claims.entry(id).or_default().apply(news);
}

fn differences(one: &Claims, other: &Claims) -> usize {
    let missing = other.keys().filter(|id| !one.contains_key(*id)).count();
    missing + one.iter().filter(|(id, claim)| other.get(*id) != Some(claim)).count()
}

fn print_states(claims: &Claims) {
    let mut states: BTreeMap<&str, u64> = BTreeMap::new();
    claims.values().for_each(|claim| *states.entry(claim.state.word()).or_default() += 1);
    let states: Vec<_> = states.iter().map(|(state, count)| format!("{count} {state}")).collect();
    println!("claims: {}", states.join(", "));
}
