//! The last word: compares what the services have landed with what a loop over the orders computes.

use std::collections::BTreeMap;

use common::{Failure, expect};
use database::{Database, Row};
use retail::Order;

use crate::service::{SERVICES, Service};

/// Compares; what there was to see.
pub(crate) fn check(databases: [Database; SERVICES.len()], orders: &[Order]) -> Result<String, Failure> {
    let all = orders.len() as u64;
    let database_name = databases[0].name();
    let (mut missing, mut duplicates, mut mismatches, mut rows) = (0, 0, 0, Vec::new());
    for (service, mut database) in SERVICES.iter().zip(databases) {
        let received = received(service, &mut database)?;
        missing += all.saturating_sub(received);
        duplicates += received.saturating_sub(all);
        let landed = landed(service, &mut database)?;
        mismatches += differences(service.name, &landed, &(service.expected)(orders));
        println!(
            "{:12} received {received} orders, of which it has made {} rows",
            service.name,
            landed.len()
        );
        rows.push(landed.len());
    }
    expect("orders that a service has not received", missing, 0)?;
    expect("orders that a service has received again", duplicates, 0)?;
    expect("rows that are not as computed from the file", mismatches, 0)?;
    let [products, customers, mails] = rows[..] else { return Err("there are three services".into()) };
    Ok(format!(
        "orders={all} received={}x{all} products={products} customers={customers} mails={mails} \
         missing={missing} duplicates={duplicates} mismatches={mismatches} database={database_name}",
        SERVICES.len()
    ))
}

fn received(service: &Service, database: &mut Database) -> Result<u64, Failure> {
    let sql = "SELECT orders FROM received WHERE service = $1";
    Ok(database.number(sql, &[service.name.into()])?.try_into()?)
}

fn landed(service: &Service, database: &mut Database) -> Result<BTreeMap<String, i64>, Failure> {
    let pair = |row: &Row| match &row[..] {
        [text, number] => Ok((text.as_str()?.to_owned(), number.as_i64()?)),
        _ => Err("a row to compare has two columns".into()),
    };
    database.query(service.rows, &[])?.iter().map(pair).collect()
}

/// How many rows differ; the first one is printed.
fn differences(service: &str, landed: &BTreeMap<String, i64>, expected: &BTreeMap<String, i64>) -> usize {
    let keys = landed.keys().chain(expected.keys().filter(|key| !landed.contains_key(*key)));
    let differing: Vec<_> = keys.filter(|key| landed.get(*key) != expected.get(*key)).collect();
    if let Some(key) = differing.first() {
        println!("{service}: {key} is {:?}, but must be {:?}", landed.get(*key), expected.get(*key));
    }
    differing.len()
}
