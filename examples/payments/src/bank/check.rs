//! Compares the ledger with the books that a loop over the transfers keeps.

use std::collections::BTreeMap;

use common::{Failure, expect};
use database::{Database, Row, Value};

use super::Transfer;
use super::books::{Booked, Books};

/// Compares; what there was to see.
pub(crate) fn check(
    database: &mut Database,
    transfers: &[Transfer],
    opening: i64,
) -> Result<String, Failure> {
    let books = Books::of(transfers, opening);
    let landed = landed(database)?;
    let entries = Entries::of(database)?;
    let missing = books.transfers.iter().filter(|(key, booked)| landed.get(*key) != Some(booked)).count();
    expect("transfers that are not in the database as they should", missing, 0)?;
    let booked = books.transfers.values().filter(|booked| booked.reason.is_none()).count();
    let duplicates =
        entries.count.saturating_sub(2 * booked) + landed.len().saturating_sub(books.transfers.len());
    expect("entries and transfers that are in the database again", duplicates, 0)?;
    expect("entries", entries.count, 2 * booked)?;
    expect("entries that are not the next of their account", entries.out_of_sequence, 0)?;
    let balance_delta = balance_delta(database, &books, &entries, opening)?;
    expect("difference between balances", balance_delta, 0)?;
    print_reasons(&books);
    let repeated: i64 = books.transfers.values().map(|booked| booked.arrivals - 1).sum();
    Ok(format!(
        "transfers={} booked={booked} rejected={} repeated={repeated} accounts={} missing={missing} \
         duplicates={duplicates} balance_delta={balance_delta}",
        books.transfers.len(),
        books.transfers.len() - booked,
        books.balances.len(),
    ))
}

fn landed(database: &mut Database) -> Result<BTreeMap<(String, String), Booked>, Failure> {
    let rows = database.query("SELECT debtor, id, reason, arrivals FROM transfers", &[])?;
    let row = |row: &Row| match &row[..] {
        [debtor, id, reason, arrivals] => {
            let reason = if *reason == Value::Null { None } else { Some(reason.as_str()?.to_owned()) };
            let key = (debtor.as_str()?.to_owned(), id.as_str()?.to_owned());
            Ok((key, Booked { reason, arrivals: arrivals.as_i64()? }))
        }
        _ => Err("a transfer has four columns".into()),
    };
    rows.iter().map(row).collect()
}

/// All entries, account by account.
#[derive(Default)]
struct Entries {
    count: usize,
    out_of_sequence: usize,
    sums: BTreeMap<String, (i64, i64)>,
}

impl Entries {
    fn of(database: &mut Database) -> Result<Self, Failure> {
        let sql = "SELECT account, sequence, amount FROM entries ORDER BY account, sequence";
        let mut entries = Self::default();
        for row in database.query(sql, &[])? {
            let [account, sequence, amount] = &row[..] else {
                return Err("an entry has three columns".into());
            };
            let (last, sum) = entries.sums.entry(account.as_str()?.to_owned()).or_default();
            entries.out_of_sequence += usize::from(sequence.as_i64()? != *last + 1);
            *last = sequence.as_i64()?;
            *sum += amount.as_i64()?;
            entries.count += 1;
        }
        Ok(entries)
    }
}

/// How far the balances are from what they should be, and from the sums of their entries.
fn balance_delta(
    database: &mut Database,
    books: &Books,
    entries: &Entries,
    opening: i64,
) -> Result<u64, Failure> {
    let mut balances = BTreeMap::new();
    for row in database.query("SELECT account, balance FROM accounts", &[])? {
        let [account, balance] = &row[..] else { return Err("two columns were asked for".into()) };
        balances.insert(account.as_str()?.to_owned(), balance.as_i64()?);
    }
    expect("accounts", balances.len(), books.balances.len())?;
    let delta = |(account, expected): (&String, &i64)| {
        let balance = balances.get(account).copied().unwrap_or_default();
        let sum = entries.sums.get(account).map_or(0, |(_, sum)| *sum);
        balance.abs_diff(*expected) + balance.abs_diff(opening + sum)
    };
    Ok(books.balances.iter().map(delta).sum())
}

fn print_reasons(books: &Books) {
    let mut reasons: BTreeMap<&str, u64> = BTreeMap::new();
    for reason in books.transfers.values().filter_map(|booked| booked.reason.as_deref()) {
        *reasons.entry(reason).or_default() += 1;
    }
    let reasons: Vec<_> = reasons.iter().map(|(reason, count)| format!("{count} for {reason}")).collect();
    println!(
        "transfers rejected: {}",
        if reasons.is_empty() { "none".to_owned() } else { reasons.join(", ") }
    );
}
