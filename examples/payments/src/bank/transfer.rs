//! A credit transfer.

use serde::{Deserialize, Serialize};

/// The currency of the ledger.
pub(crate) const CURRENCY: &str = "EUR";

/// Somebody pays somebody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Transfer {
    /// The message in which it came (`MsgId`). Another one may bring it again.
    pub(crate) message: String,
    /// What all banks on its way know it by.
    pub(crate) id: String,
    /// Whose account is debited: the key in the topic.
    pub(crate) debtor: String,
    /// Whose account is credited.
    pub(crate) creditor: String,
    pub(crate) currency: String,
    /// In hundredths.
    pub(crate) amount: i64,
}

impl Transfer {
    /// Why no bank would take it, whatever the balance: a code of ISO 20022's external code sets.
    pub(crate) fn flaw(&self) -> Option<&'static str> {
        if !is_account(&self.debtor) || !is_account(&self.creditor) {
            Some("AC01") // incorrect account number
        } else if self.currency != CURRENCY {
            Some("AM03") // not allowed currency
        } else if self.amount == 0 {
            Some("AM01") // zero amount
        } else {
            None
        }
    }
}

/// What is refused because the balance does not cover it: insufficient funds.
pub(crate) const INSUFFICIENT: &str = "AM04";

/// Whether an account number can be right. An IBAN, the country's two letters and two check digits, leaves 1
/// when it is divided by 97 (ISO 13616); of others nothing is known.
pub(crate) fn is_account(account: &str) -> bool {
    let is_iban = account.len() >= 15
        && account.bytes().all(|byte| byte.is_ascii_alphanumeric())
        && account.bytes().take(2).all(|byte| byte.is_ascii_uppercase())
        && account.bytes().skip(2).take(2).all(|byte| byte.is_ascii_digit());
    !account.is_empty() && (!is_iban || remainder(account) == 1)
}

/// The IBAN of a country's account number.
pub(crate) fn iban(country: &str, account: &str) -> String {
    let check = 98 - remainder(&format!("{country}00{account}"));
    format!("{country}{check:02}{account}")
}

/// Of the number that an IBAN is, country and check digits last, letters as 10 to 35, divided by 97.
fn remainder(iban: &str) -> u32 {
    let (front, back) = iban.split_at(4);
    let digits = back.chars().chain(front.chars()).filter_map(|symbol| symbol.to_digit(36));
    digits.fold(0, |rest, digit| (rest * if digit < 10 { 10 } else { 100 } + digit) % 97)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ibans_are_checked() {
        for account in ["DE89370400440532013000", "GB82WEST12345698765432", "4711"] {
            assert!(is_account(account), "{account}");
        }
        for account in ["DE89370400440532013001", "GB28WEST12345698765432", ""] {
            assert!(!is_account(account), "{account}");
        }
        assert_eq!(iban("DE", "370400440532013000"), "DE89370400440532013000");
    }
}
