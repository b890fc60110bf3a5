//! A claim, and what its states lead to. Pure: the same events in the same order give the same claim.

use serde::{Deserialize, Serialize};

/// Something happened to a claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Event {
    /// Which claim: the key in the topic.
    pub(crate) claim: String,
    pub(crate) news: News,
}

/// What happened. Amounts are in hundredths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum News {
    Submitted { amount: i64 },
    Queued,
    Approved { amount: i64 },
    Denied,
    Paid { amount: i64 },
    Cancelled,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum State {
    /// Nobody has submitted it yet.
    #[default]
    Unknown,
    Submitted,
    InReview,
    Approved,
    Denied,
    PartlyPaid,
    Paid,
    Cancelled,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) state: State,
    pub(crate) claimed: i64,
    pub(crate) approved: i64,
    pub(crate) paid: i64,
    /// How many events it had.
    pub(crate) events: i64,
    /// How many of them did not fit: a repeated one, or a payment of what was not approved.
    pub(crate) refused: i64,
}

impl Claim {
    /// What the claim is after that.
    pub(crate) fn apply(&mut self, news: News) {
        self.events += 1;
        match (self.state, news) {
            (State::Unknown, News::Submitted { amount }) => {
                self.state = State::Submitted;
                self.claimed = amount;
            }
            (State::Submitted, News::Queued) => self.state = State::InReview,
            (State::Submitted | State::InReview, News::Approved { amount }) => {
                self.state = State::Approved;
                self.approved = amount;
            }
            (State::Submitted | State::InReview, News::Denied) => self.state = State::Denied,
            (State::Submitted | State::InReview, News::Cancelled) => self.state = State::Cancelled,
            (State::Approved | State::PartlyPaid, News::Paid { amount }) => {
                self.paid = self.paid.saturating_add(amount);
                self.state = if self.paid < self.approved { State::PartlyPaid } else { State::Paid };
            }
            _ => self.refused += 1,
        }
    }
}

/// All states with the words for them in the database.
const WORDS: [(State, &str); 8] = [
    (State::Unknown, "unknown"),
    (State::Submitted, "submitted"),
    (State::InReview, "in review"),
    (State::Approved, "approved"),
    (State::Denied, "denied"),
    (State::PartlyPaid, "partly paid"),
    (State::Paid, "paid"),
    (State::Cancelled, "cancelled"),
];

impl State {
    pub(crate) fn word(self) -> &'static str {
        WORDS.iter().find(|(state, _)| *state == self).map_or("unknown", |(_, word)| word)
    }

    pub(crate) fn of_word(word: &str) -> Option<Self> {
        WORDS.iter().find(|(_, known)| *known == word).map(|(state, _)| *state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_paid_once_and_only_if_approved() {
        let mut claim = Claim::default();
        let steps = [
            (News::Paid { amount: 10 }, State::Unknown, 1),
            (News::Submitted { amount: 100 }, State::Submitted, 1),
            (News::Queued, State::InReview, 1),
            (News::Queued, State::InReview, 2),
            (News::Approved { amount: 80 }, State::Approved, 2),
            (News::Paid { amount: 30 }, State::PartlyPaid, 2),
            (News::Paid { amount: 50 }, State::Paid, 2),
            (News::Paid { amount: 50 }, State::Paid, 3),
        ];
        for (news, state, refused) in steps {
            claim.apply(news);
            assert_eq!((claim.state, claim.refused), (state, refused), "{news:?}");
        }
        assert_eq!((claim.claimed, claim.approved, claim.paid, claim.events), (100, 80, 80, 8));
    }
}
