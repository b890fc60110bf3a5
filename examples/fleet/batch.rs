//! What must come out, computed straight from the feed, without a topic between.

use std::collections::BTreeSet;

use crate::position::{Feed, Report};
use crate::rules::{News, Rules};

#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// Reports that came behind a newer one of their vehicle.
    pub(crate) late: u64,
    /// Reports of the same time as the newest one of their vehicle.
    pub(crate) repeated: u64,
    /// The others: of each vehicle, in the order of time.
    pub(crate) in_time: Vec<Vec<Report>>,
    /// Vehicle, time, and what it is.
    pub(crate) news: BTreeSet<(String, i64, News)>,
}

impl Batch {
    pub(crate) fn of(feed: &Feed, rules: &Rules) -> Self {
        let mut batch = Self { in_time: vec![Vec::new(); feed.vehicles.len()], ..Self::default() };
        for report in &feed.reports {
            let of_vehicle = &mut batch.in_time[report.vehicle as usize];
            match of_vehicle.last().map(|newest: &Report| report.time.cmp(&newest.time)) {
                Some(std::cmp::Ordering::Less) => batch.late += 1,
                Some(std::cmp::Ordering::Equal) => batch.repeated += 1,
                Some(std::cmp::Ordering::Greater) | None => of_vehicle.push(*report),
            }
        }
        let pairs = batch.in_time.iter().flat_map(|reports| reports.windows(2));
        batch.news = pairs.flat_map(|pair| news_between(feed, rules, &pair[0], &pair[1])).collect();
        batch
    }

    pub(crate) fn in_time_count(&self) -> u64 {
        self.in_time.iter().map(|reports| reports.len() as u64).sum()
    }

    pub(crate) fn entries(&self) -> u64 {
        self.news.iter().filter(|(_, _, news)| matches!(news, News::Entered(_))).count() as u64
    }
}

fn news_between(feed: &Feed, rules: &Rules, before: &Report, now: &Report) -> Vec<(String, i64, News)> {
    let mut news = Vec::new();
    if let Some(fence) = rules.fence_at(now.at)
        && rules.fence_at(before.at) != Some(fence)
    {
        news.push(News::Entered(fence.to_owned()));
    }
    let (before, after) = (feed.position(before), feed.position(now));
    if let (None, Some(road)) = (rules.slow_on(&before), rules.slow_on(&after)) {
        news.push(News::SlowedDown(road.to_owned()));
    }
    news.into_iter().map(|news| (feed.id(now).to_owned(), now.time, news)).collect()
}
