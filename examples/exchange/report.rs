//! The last word: compares what the groups know with each other and with books built straight from the feed,
//! prints it, and fails if anything is not as it should be.

use std::collections::BTreeSet;

use crate::book::{Book, Level};
use crate::feed::Feed;
use crate::market::Market;
use crate::{Failure, GROUPS};

/// Checks and prints. In a feed that was invented here, no message may be about an order that is not there.
pub(crate) fn report(
    feed: &Feed<'_>,
    groups: &[Market; GROUPS.len()],
    invented: bool,
) -> Result<(), Failure> {
    let expected = straight_from(feed)?;
    let mismatches = mismatches(&expected, groups);
    if !mismatches.is_empty() {
        return Err(format!("the groups do not agree on {mismatches:?}").into());
    }
    let [market, _] = groups;
    check(market, invented)?;
    print_stocks(market);
    println!(
        "OK exchange messages={} stocks={} groups={} mismatches={} digest={}",
        market.messages(),
        market.books.len(),
        groups.len(),
        mismatches.len(),
        market.digest(),
    );
    Ok(())
}

/// The same books without a topic between, for comparison.
fn straight_from(feed: &Feed<'_>) -> Result<Market, Failure> {
    let mut market = Market::default();
    for (stock, message) in feed.keyed() {
        market.apply(stock, message)?;
    }
    Ok(market)
}

fn mismatches(expected: &Market, groups: &[Market]) -> BTreeSet<String> {
    groups.iter().flat_map(|group| group.differences(expected)).collect()
}

fn check(market: &Market, invented: bool) -> Result<(), Failure> {
    if let Some((stock, _)) = market.books.iter().find(|(_, book)| !book.adds_up()) {
        return Err(
            format!("the levels or the volume of {stock} are not the sums of its orders and trades").into()
        );
    }
    let anomalies = market.anomalies();
    if invented && anomalies > 0 {
        return Err(
            format!("{anomalies} messages do not fit the books, of a feed that was made to fit").into()
        );
    }
    Ok(())
}

fn print_stocks(market: &Market) {
    println!("stock     orders            best bid            best ask        last        vwap      volume");
    for (stock, book) in &market.books {
        println!("{}", line(stock, book));
    }
    println!();
    if market.anomalies() > 0 {
        println!("{} messages are about orders or trades that are not there (yet)\n", market.anomalies());
    }
}

fn line(stock: &str, book: &Book) -> String {
    let traded = book.traded();
    let (bid, ask) = (quote(book.best_bid()), quote(book.best_ask()));
    let (last, average) = (price(book.last_price()), price(traded.average()));
    let (orders, volume) = (book.open_orders(), traded.shares);
    format!("{stock:<8}{orders:>8}{bid:>20}{ask:>20}{last:>12}{average:>12}{volume:>12}")
}

fn quote(best: Option<(u32, Level)>) -> String {
    best.map_or_else(|| "-".to_owned(), |(at, level)| format!("{} x {}", level.shares, price(Some(at))))
}

/// A price in ten-thousandths, with its point.
fn price(ten_thousandths: Option<impl Into<u128>>) -> String {
    ten_thousandths
        .map(Into::into)
        .map_or_else(|| "-".to_owned(), |price: u128| format!("{}.{:04}", price / 10_000, price % 10_000))
}
