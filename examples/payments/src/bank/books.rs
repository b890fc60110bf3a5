//! What the ledger must hold in the end, computed in a loop over the transfers, without a topic and a
//! database.

use std::collections::BTreeMap;

use super::Transfer;
use super::transfer::{INSUFFICIENT, is_account};

/// A ledger in memory.
#[derive(Debug, Default)]
pub(crate) struct Books {
    pub(crate) balances: BTreeMap<String, i64>,
    /// By debtor and id.
    pub(crate) transfers: BTreeMap<(String, String), Booked>,
}

/// What became of a transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Booked {
    /// Why it was rejected, if it was.
    pub(crate) reason: Option<String>,
    /// How often it came.
    pub(crate) arrivals: i64,
}

impl Books {
    /// The accounts whose numbers can be right are open, each with the same balance. What an account receives
    /// is its own the next day, so today it can spend what it had in the morning, and whether a transfer is
    /// covered depends on the transfers of its debtor alone.
    pub(crate) fn of(transfers: &[Transfer], opening: i64) -> Self {
        let mut books = Self::default();
        for account in accounts(transfers) {
            books.balances.insert(account.to_owned(), opening);
        }
        let mut available = books.balances.clone();
        for transfer in transfers {
            books.book(transfer, &mut available);
        }
        books
    }

    fn book(&mut self, transfer: &Transfer, available: &mut BTreeMap<String, i64>) {
        let key = (transfer.debtor.clone(), transfer.id.clone());
        if let Some(booked) = self.transfers.get_mut(&key) {
            booked.arrivals += 1;
            return;
        }
        let mut reason = transfer.flaw();
        if reason.is_none() && available[&transfer.debtor] < transfer.amount {
            reason = Some(INSUFFICIENT);
        }
        if reason.is_none() {
            for balances in [&mut *available, &mut self.balances] {
                balances.entry(transfer.debtor.clone()).and_modify(|balance| *balance -= transfer.amount);
            }
            self.balances.entry(transfer.creditor.clone()).and_modify(|balance| *balance += transfer.amount);
        }
        self.transfers.insert(key, Booked { reason: reason.map(str::to_owned), arrivals: 1 });
    }
}

/// All accounts that are named and can be right; some of them again and again.
pub(crate) fn accounts(transfers: &[Transfer]) -> impl Iterator<Item = &str> {
    let named = transfers.iter().flat_map(|transfer| [transfer.debtor.as_str(), transfer.creditor.as_str()]);
    named.filter(|account| is_account(account))
}
