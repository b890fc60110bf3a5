//! Invented claims, with what happens to them, in the order of time: they are queued, approved in part or
//! denied, and paid in a bulk. Some lines come again, and some payments before anybody has approved them.

use fastrand::Rng;
use serde_json::{Value, json};

/// Claims that are on their way at the same time.
const OPEN_AT_ONCE: usize = 40;
const PAID_AT_ONCE: usize = 25;

/// So many claims as NDJSON.
pub(crate) fn generate(seed: u64, claims: u32) -> String {
    let mut insurance = Insurance { random: Rng::with_seed(seed), ..Insurance::default() };
    for number in 0..claims {
        insurance.submit(number);
        while insurance.open.len() > OPEN_AT_ONCE {
            insurance.go_on();
        }
    }
    while !insurance.open.is_empty() {
        insurance.go_on();
    }
    insurance.pay();
    insurance.lines.concat()
}

#[derive(Default)]
struct Insurance {
    random: Rng,
    open: Vec<Open>,
    /// Claims with what is to be paid, in hundredths.
    to_be_paid: Vec<(String, u32)>,
    lines: Vec<String>,
    responses: u32,
}

struct Open {
    claim: String,
    amount: u32,
    is_queued: bool,
}

impl Insurance {
    fn submit(&mut self, number: u32) {
        let claim = format!("claim-{number:05}");
        let amount = self.random.u32(2_000..200_000);
        let patient = self.random.u32(1..300);
        self.write(&json!({
            "resourceType": "Claim", "id": claim, "status": "active", "use": "claim",
            "type": {"coding": [{
                "system": "http://terminology.hl7.org/CodeSystem/claim-type", "code": "professional"
            }]},
            "patient": {"reference": format!("Patient/{patient}")},
            "created": "2024-05-02",
            "provider": {"reference": "Organization/practice"},
            "priority": {"coding": [{"code": "normal"}]},
            "insurance": [{"sequence": 1, "focal": true, "coverage": {"reference": "Coverage/1"}}],
            "total": money(amount),
        }));
        self.open.push(Open { claim, amount, is_queued: false });
    }

    /// One step for one of those that are open.
    fn go_on(&mut self) {
        let place = self.random.usize(0..self.open.len());
        match self.random.u32(0..20) {
            0 => {
                let Open { claim, .. } = self.open.swap_remove(place);
                self.write(&json!({"resourceType": "Claim", "id": claim, "status": "cancelled"}));
            }
            1..3 => {
                let Open { claim, .. } = self.open.swap_remove(place);
                self.respond(&claim, "error", None);
            }
            3..10 if !self.open[place].is_queued => {
                self.open[place].is_queued = true;
                let claim = self.open[place].claim.clone();
                self.respond(&claim, "queued", None);
            }
            _ => {
                let Open { claim, amount, .. } = self.open.swap_remove(place);
                let approved = amount / 100 * self.random.u32(50..=100);
                self.respond(&claim, "complete", Some(approved));
                self.to_be_paid.push((claim, approved));
            }
        }
        if self.to_be_paid.len() >= PAID_AT_ONCE {
            self.pay();
        }
    }

    fn respond(&mut self, claim: &str, outcome: &str, approved: Option<u32>) {
        self.responses += 1;
        let mut response = json!({
            "resourceType": "ClaimResponse", "id": format!("response-{:05}", self.responses),
            "status": "active", "use": "claim", "created": "2024-05-03", "outcome": outcome,
            "insurer": {"reference": "Organization/insurance"},
            "request": {"reference": format!("Claim/{claim}")},
        });
        if let Some(approved) = approved {
            response["payment"] = json!({"type": {"text": "complete"}, "amount": money(approved)});
        }
        self.write(&response);
    }

    /// A reconciliation. Some claims are paid in two parts.
    fn pay(&mut self) {
        let mut paid = std::mem::take(&mut self.to_be_paid);
        if let Some((claim, amount)) = paid.first_mut().filter(|(_, amount)| *amount > 1) {
            let rest = (claim.clone(), *amount / 2);
            *amount -= rest.1;
            self.to_be_paid.push(rest);
        }
        // Somebody was too quick.
        paid.extend(self.open.first().map(|open| (open.claim.clone(), open.amount)));
        let detail = |(claim, amount): &(String, u32)| {
            json!({
                "type": {"coding": [{"code": "payment"}]},
                "request": {"reference": format!("Claim/{claim}")}, "amount": money(*amount),
            })
        };
        let total = paid.iter().map(|(_, amount)| amount).sum();
        self.write(&json!({
            "resourceType": "PaymentReconciliation", "status": "active", "created": "2024-05-31",
            "paymentDate": "2024-06-01", "paymentAmount": money(total),
            "detail": paid.iter().map(detail).collect::<Vec<_>>(),
        }));
    }

    fn write(&mut self, resource: &Value) {
        self.lines.push(format!("{resource}\n"));
        if self.random.u32(0..100) == 0 {
            self.lines.extend(self.lines.last().cloned());
        }
    }
}

fn money(hundredths: u32) -> Value {
    json!({"value": f64::from(hundredths) / 100.0, "currency": "EUR"})
}
