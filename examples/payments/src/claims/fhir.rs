//! What happens to a claim as HL7 FHIR R4 tells it (<https://hl7.org/fhir/R4/claim.html>,
//! [`claimresponse`](https://hl7.org/fhir/R4/claimresponse.html),
//! [`paymentreconciliation`](https://hl7.org/fhir/R4/paymentreconciliation.html)), one resource a line, as
//! bulk exports are written (<https://hl7.org/fhir/uv/bulkdata/>):
//!
//! ```json
//! {"resourceType":"Claim","id":"c1","status":"active","total":{"value":120.50,"currency":"EUR"}}
//! {"resourceType":"ClaimResponse","request":{"reference":"Claim/c1"},"outcome":"queued"}
//! {"resourceType":"ClaimResponse","request":{"reference":"Claim/c1"},"outcome":"complete",
//!  "payment":{"amount":{"value":100,"currency":"EUR"}}}
//! {"resourceType":"PaymentReconciliation","detail":[{"request":{"reference":"Claim/c1"},
//!  "amount":{"value":100,"currency":"EUR"}}]}
//! ```
//!
//! A claim without a total claims the sum of its items. A reconciliation is about many claims, and becomes
//! an event for each. Other resources are passed over.

use std::fs;
use std::path::Path;

use common::{Failure, about};
use serde::Deserialize;

use super::claim::{Event, News};

#[derive(Deserialize)]
#[serde(tag = "resourceType")]
enum Resource {
    Claim {
        id: String,
        status: String,
        total: Option<Money>,
        #[serde(default)]
        item: Vec<Item>,
    },
    ClaimResponse {
        request: Reference,
        outcome: String,
        payment: Option<Payment>,
    },
    PaymentReconciliation {
        #[serde(default)]
        detail: Vec<Detail>,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Reference {
    reference: String,
}

#[derive(Deserialize)]
struct Payment {
    amount: Money,
}

#[derive(Deserialize)]
struct Item {
    net: Option<Money>,
}

/// Without a claim it is an advance, or the like.
#[derive(Deserialize)]
struct Detail {
    request: Option<Reference>,
    amount: Option<Money>,
}

#[derive(Deserialize)]
struct Money {
    value: f64,
}

/// The events of a file, in the order of its lines.
pub(crate) fn read(path: &Path) -> Result<Vec<Event>, Failure> {
    let text = fs::read_to_string(path).map_err(|error| about(path, error))?;
    read_text(path, &text)
}

/// The events of a text, which is called `path` in errors.
pub(crate) fn read_text(path: &Path, text: &str) -> Result<Vec<Event>, Failure> {
    let mut events = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let at_line = |reason: &str| about(path, format!("line {}: {reason}", number + 1));
        let resource: Resource = serde_json::from_str(line.trim_start_matches('\u{feff}'))
            .map_err(|error| at_line(&format!("a FHIR resource was expected: {error}")))?;
        events.extend(resource.events().map_err(|reason| at_line(&reason))?);
    }
    Ok(events)
}

impl Resource {
    fn events(self) -> Result<Vec<Event>, String> {
        let event = match self {
            Self::Claim { id, status, total, item } => {
                let news = match status.as_str() {
                    "active" => News::Submitted { amount: claimed(total, item)? },
                    "cancelled" | "entered-in-error" => News::Cancelled,
                    "draft" => return Ok(vec![]),
                    other => return Err(format!("the status of a Claim cannot be {other:?}")),
                };
                Event { claim: id, news }
            }
            Self::ClaimResponse { request, outcome, payment } => {
                let amount = payment.map_or(Ok(0), |payment| payment.amount.hundredths())?;
                let news = match outcome.as_str() {
                    "queued" | "partial" => News::Queued,
                    "complete" if amount > 0 => News::Approved { amount },
                    "complete" | "error" => News::Denied,
                    other => return Err(format!("the outcome of a ClaimResponse cannot be {other:?}")),
                };
                Event { claim: request.claim()?, news }
            }
            Self::PaymentReconciliation { detail } => {
                return detail.into_iter().filter_map(Detail::event).collect();
            }
            Self::Other => return Ok(vec![]),
        };
        Ok(vec![event])
    }
}

/// The total, or without one the sum of the items.
fn claimed(total: Option<Money>, items: Vec<Item>) -> Result<i64, String> {
    match total {
        Some(total) => total.hundredths(),
        None => items.into_iter().filter_map(|item| item.net).map(|net| net.hundredths()).sum(),
    }
}

impl Detail {
    fn event(self) -> Option<Result<Event, String>> {
        let (request, paid) = (self.request?, self.amount?);
        let event = |amount| Ok(Event { claim: request.claim()?, news: News::Paid { amount } });
        Some(paid.hundredths().and_then(event))
    }
}

impl Reference {
    /// `Claim/c1`, with a version `Claim/c1/_history/2`, or the whole address of it, as a server forms it.
    fn claim(self) -> Result<String, String> {
        let path = self.reference.split("/_history/").next().unwrap_or_default();
        match path.rsplit_once('/') {
            Some(("Claim", id)) if !id.is_empty() => Ok(id.to_owned()),
            Some((server, id)) if server.contains("://") && !id.is_empty() => Ok(id.to_owned()),
            _ => Err(format!("a reference like \"Claim/c1\" was expected, but is {:?}", self.reference)),
        }
    }
}

impl Money {
    fn hundredths(&self) -> Result<i64, String> {
        let hundredths = (self.value * 100.0).round();
        // Below that, every whole number is itself as a float.
        if !(0.0..=9e15).contains(&hundredths) || (self.value * 100.0 - hundredths).abs() > 1e-4 * hundredths
        {
            return Err(format!("an amount like 12.50 was expected, but is {}", self.value));
        }
        Ok(hundredths as i64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(text: &str) -> Result<Vec<Event>, String> {
        read_text(Path::new("file"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_claim_and_what_happens_to_it_is_read() {
        let text = concat!(
            "{\"resourceType\":\"Claim\",\"id\":\"c1\",\"status\":\"active\",",
            "\"total\":{\"value\":120.5}}\r\n\r\n",
            "{\"resourceType\":\"Patient\",\"id\":\"p\"}\n",
            "{\"resourceType\":\"ClaimResponse\",\"outcome\":\"complete\",",
            "\"request\":{\"reference\":\"http://x/claims/c1/_history/2\"},",
            "\"payment\":{\"amount\":{\"value\":0.29}}}\n",
            "{\"resourceType\":\"PaymentReconciliation\",\"detail\":[{\"amount\":{\"value\":-5}},",
            "{\"request\":{\"reference\":\"Claim/c1\"},\"amount\":{\"value\":1}}]}",
        );
        let news =
            [News::Submitted { amount: 12050 }, News::Approved { amount: 29 }, News::Paid { amount: 100 }];
        assert_eq!(events(text), Ok(news.map(|news| Event { claim: "c1".into(), news }).to_vec()));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let wrong = |text: &str| events(&format!("\n{text}")).expect_err("is wrong");
        assert!(wrong("{").contains("line 2: a FHIR resource was expected"));
        assert!(wrong(r#"{"resourceType":"Claim","id":"1","status":"old"}"#).contains("cannot be \"old\""));
        let response = r#"{"resourceType":"ClaimResponse","request":{"reference":"x"},"outcome":"error"}"#;
        assert!(wrong(response).contains("a reference like"));
        let claim = r#"{"resourceType":"Claim","id":"1","status":"active","total":{"value":1.005}}"#;
        assert!(wrong(claim).contains("an amount like 12.50"));
    }
}
