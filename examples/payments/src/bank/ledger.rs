//! The ledger: each transfer is booked once, in one transaction with how far the topic was read.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use common::Failure;
use database::kills::DieAfter;
use database::{Database, Transaction, Value};
use ottla::{Broker, Json, Sink};

use super::books::accounts;
use super::transfer::INSUFFICIENT;
use super::{PAYMENTS, Transfer};
use crate::{BATCH_RECORDS, PATIENCE};

/// All amounts are in hundredths. An account's entries are numbered, without a gap.
const TABLES: [&str; 3] = [
    "CREATE TABLE IF NOT EXISTS accounts (
        account TEXT PRIMARY KEY,
        opening BIGINT NOT NULL,
        available BIGINT NOT NULL,
        balance BIGINT NOT NULL,
        sequence BIGINT NOT NULL
    )",
    "CREATE TABLE IF NOT EXISTS transfers (
        debtor TEXT,
        id TEXT,
        amount BIGINT NOT NULL,
        reason TEXT,
        arrivals BIGINT NOT NULL,
        PRIMARY KEY (debtor, id)
    )",
    "CREATE TABLE IF NOT EXISTS entries (
        account TEXT,
        sequence BIGINT,
        debtor TEXT NOT NULL,
        id TEXT NOT NULL,
        amount BIGINT NOT NULL,
        PRIMARY KEY (account, sequence)
    )",
];

/// Makes the tables, and opens the accounts that are not open yet.
pub(crate) fn open(database: &mut Database, transfers: &[Transfer], opening: i64) -> Result<(), Failure> {
    for table in TABLES {
        database.execute(table, &[])?;
    }
    let mut transaction = database.transaction()?;
    for account in accounts(transfers).collect::<BTreeSet<_>>() {
        let sql = "INSERT INTO accounts (account, opening, available, balance, sequence) \
                   VALUES ($1, $2, $2, $2, 0) ON CONFLICT (account) DO NOTHING";
        transaction.execute(sql, &[account.into(), opening.into()])?;
    }
    transaction.commit()?;
    match database.number("SELECT COUNT(*) FROM accounts WHERE opening <> $1", &[opening.into()])? {
        0 => Ok(()),
        count => Err(format!("{count} accounts were opened with another balance than --opening says").into()),
    }
}

/// Books transfers until all are published and booked.
pub(crate) fn keep(
    broker: &Broker,
    database: Database,
    is_published: &AtomicBool,
    mut die_after: DieAfter,
) -> Result<Database, Failure> {
    let builder = broker.consumer::<String, Json<Transfer>>().topic(PAYMENTS).group("ledger");
    let mut sink = Sink::new(builder.max_records(BATCH_RECORDS).build()?, database)?;
    loop {
        // Asked before landing: what comes in between is landed in the next round.
        let is_all_there = is_published.load(Ordering::Acquire);
        let landed = sink.land(PATIENCE, |transaction, records| {
            for record in records {
                book(transaction, &record.value()?)?;
                die_after.step();
            }
            Ok::<_, Failure>(())
        })?;
        if is_all_there && landed == 0 {
            return Ok(sink.into_parts().1);
        }
    }
}

fn book(transaction: &mut Transaction<'_>, transfer: &Transfer) -> Result<(), Failure> {
    if !note(transaction, transfer)? {
        return note_again(transaction, transfer);
    }
    if let Some(reason) = transfer.flaw() {
        return reject(transaction, transfer, reason);
    }
    let Some(sequence) = debit(transaction, transfer)? else {
        return reject(transaction, transfer, INSUFFICIENT);
    };
    enter(transaction, transfer, &transfer.debtor, sequence, -transfer.amount)?;
    let sequence = credit(transaction, transfer)?;
    enter(transaction, transfer, &transfer.creditor, sequence, transfer.amount)
}

/// Whether it is new. A sender that heard no answer sends a transfer again: its key is there already.
fn note(transaction: &mut Transaction<'_>, transfer: &Transfer) -> Result<bool, Failure> {
    let sql = "INSERT INTO transfers (debtor, id, amount, arrivals) VALUES ($1, $2, $3, 1) \
               ON CONFLICT (debtor, id) DO NOTHING";
    let [debtor, id] = key(transfer);
    Ok(transaction.execute(sql, &[debtor, id, transfer.amount.into()])? == 1)
}

fn note_again(transaction: &mut Transaction<'_>, transfer: &Transfer) -> Result<(), Failure> {
    let sql = "UPDATE transfers SET arrivals = arrivals + 1 WHERE debtor = $1 AND id = $2";
    transaction.execute(sql, &key(transfer)).map(drop)
}

fn reject(transaction: &mut Transaction<'_>, transfer: &Transfer, reason: &str) -> Result<(), Failure> {
    let [debtor, id] = key(transfer);
    let sql = "UPDATE transfers SET reason = $3 WHERE debtor = $1 AND id = $2";
    transaction.execute(sql, &[debtor, id, reason.into()]).map(drop)
}

/// The number of the entry, if the debtor has enough.
fn debit(transaction: &mut Transaction<'_>, transfer: &Transfer) -> Result<Option<i64>, Failure> {
    let sql = "UPDATE accounts \
               SET available = available - $2, balance = balance - $2, sequence = sequence + 1 \
               WHERE account = $1 AND available >= $2 RETURNING sequence";
    let rows = transaction.query(sql, &[transfer.debtor.as_str().into(), transfer.amount.into()])?;
    rows.iter().flatten().next().map(Value::as_i64).transpose()
}

/// What comes in can be spent the next day.
fn credit(transaction: &mut Transaction<'_>, transfer: &Transfer) -> Result<i64, Failure> {
    let sql = "UPDATE accounts SET balance = balance + $2, sequence = sequence + 1 \
               WHERE account = $1 RETURNING sequence";
    let rows = transaction.query(sql, &[transfer.creditor.as_str().into(), transfer.amount.into()])?;
    let sequence = rows.iter().flatten().next();
    sequence.ok_or_else(|| format!("the account {} is not open", transfer.creditor))?.as_i64()
}

fn enter(
    transaction: &mut Transaction<'_>,
    transfer: &Transfer,
    account: &str,
    sequence: i64,
    amount: i64,
) -> Result<(), Failure> {
    let [debtor, id] = key(transfer);
    let sql = "INSERT INTO entries (account, sequence, debtor, id, amount) VALUES ($1, $2, $3, $4, $5)";
    transaction.execute(sql, &[account.into(), sequence.into(), debtor, id, amount.into()]).map(drop)
}

fn key(transfer: &Transfer) -> [Value; 2] {
    [transfer.debtor.as_str().into(), transfer.id.as_str().into()]
}
