//! Those who work on claims: they look up a claim in the database, take the next event into account, and
//! store what it has become, in one transaction with how far the topic was read.

use std::sync::atomic::{AtomicBool, Ordering};

use common::Failure;
use database::{Database, Row, Transaction, Value};
use ottla::{Broker, Json, Sink};

use super::CLAIMS;
use super::claim::{Claim, Event, State};
use crate::{BATCH_RECORDS, PATIENCE};

const TABLE: &str = "CREATE TABLE IF NOT EXISTS claims (
    claim TEXT PRIMARY KEY,
    state TEXT NOT NULL,
    claimed BIGINT NOT NULL,
    approved BIGINT NOT NULL,
    paid BIGINT NOT NULL,
    events BIGINT NOT NULL,
    refused BIGINT NOT NULL
)";
const COLUMNS: &str = "claim, state, claimed, approved, paid, events, refused";

pub(crate) fn open(database: &mut Database) -> Result<(), Failure> {
    database.execute(TABLE, &[]).map(drop)
}

/// Works until all events are published and landed.
pub(crate) fn keep(
    broker: &Broker,
    database: Database,
    is_published: &AtomicBool,
) -> Result<Database, Failure> {
    let builder = broker.consumer::<String, Json<Event>>().topic(CLAIMS).group("desk");
    let mut sink = Sink::new(builder.max_records(BATCH_RECORDS).build()?, database)?;
    loop {
        // Asked before landing: what comes in between is landed in the next round.
        let is_all_there = is_published.load(Ordering::Acquire);
        let landed = sink.land(PATIENCE, |transaction, records| {
            for record in records {
                let Event { claim: id, news } = record.value()?;
                let mut claim = load(transaction, &id)?;
                claim.apply(news);
                store(transaction, &id, &claim)?;
            }
            Ok::<_, Failure>(())
        })?;
        if is_all_there && landed == 0 {
            return Ok(sink.into_parts().1);
        }
    }
}

fn load(transaction: &mut Transaction<'_>, id: &str) -> Result<Claim, Failure> {
    let sql = format!("SELECT {COLUMNS} FROM claims WHERE claim = $1");
    let rows = transaction.query(&sql, &[id.into()])?;
    rows.first().map_or_else(|| Ok(Claim::default()), |row| Ok(named(row)?.1))
}

fn store(transaction: &mut Transaction<'_>, id: &str, claim: &Claim) -> Result<(), Failure> {
    let sql = format!(
        "INSERT INTO claims ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7) \
         ON CONFLICT (claim) DO UPDATE SET state = excluded.state, claimed = excluded.claimed, \
         approved = excluded.approved, paid = excluded.paid, events = excluded.events, \
         refused = excluded.refused"
    );
    let Claim { state, claimed, approved, paid, events, refused } = claim;
    let mut values: Vec<Value> = vec![id.into(), state.word().into()];
    values.extend([claimed, approved, paid, events, refused].map(|number| Value::from(*number)));
    transaction.execute(&sql, &values).map(drop)
}

/// All claims with their ids.
pub(crate) fn claims(database: &mut Database) -> Result<Vec<(String, Claim)>, Failure> {
    database.query(&format!("SELECT {COLUMNS} FROM claims"), &[])?.iter().map(named).collect()
}

fn named(row: &Row) -> Result<(String, Claim), Failure> {
    let [id, state, claimed, approved, paid, events, refused] = &row[..] else {
        return Err("a claim has seven columns".into());
    };
    let state = State::of_word(state.as_str()?).ok_or("a claim in the database has no such state")?;
    let claim = Claim {
        state,
        claimed: claimed.as_i64()?,
        approved: approved.as_i64()?,
        paid: paid.as_i64()?,
        events: events.as_i64()?,
        refused: refused.as_i64()?,
    };
    Ok((id.as_str()?.to_owned(), claim))
}
