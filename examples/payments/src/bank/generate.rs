//! Invented transfers, in messages that are valid pacs.008.001.08, with the mess of real ones: whole messages
//! that a bank sends again because it heard no answer, single transfers that come again in a later message,
//! account numbers with a slip of the pen, foreign currency, and people who spend more than they have.

use fastrand::Rng;
use quick_xml::escape::escape;

use super::transfer::{CURRENCY, iban};

const MESSAGE_TRANSFERS: usize = 100;
const NAMES: [&str; 8] = [
    "Anna Berg",
    "Bäckerei Krume & Sohn",
    "Cem Yildiz",
    "Dora <IT> Services",
    "Emil Kowalski",
    "Farid Haddad",
    "Gärtnerei Grün",
    "Hanna Lind",
];
const REASONS: [&str; 5] = ["Rent", "Invoice 2024/117", "Lunch & coffee", "Thank you", "Instalment 3 of 12"];
/// The element that wraps the messages of the file. Which one it is is not for ISO 20022 to say.
const WRAPPER: &str = "Messages";

/// A file with so many different transfers between so many accounts.
pub(crate) fn generate(seed: u64, transfers: u32, accounts: u32) -> String {
    let mut bank = Bank { random: Rng::with_seed(seed), accounts, sent: Vec::new() };
    let transfers: Vec<String> = (0..transfers).map(|number| bank.transfer(number)).collect();
    for transfers in transfers.chunks(MESSAGE_TRANSFERS) {
        bank.send(transfers.to_vec());
    }
    let messages = bank.sent.iter().map(Message::xml).collect::<String>();
    format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<{WRAPPER}>\n{messages}</{WRAPPER}>\n")
}

struct Bank {
    random: Rng,
    accounts: u32,
    sent: Vec<Message>,
}

#[derive(Clone)]
struct Message {
    number: usize,
    transfers: Vec<String>,
}

impl Bank {
    /// Sends a message. In some of them comes a single transfer again, and some come again as a whole.
    fn send(&mut self, mut transfers: Vec<String>) {
        if self.random.u32(0..4) == 0 && !self.sent.is_empty() {
            transfers.extend(self.any_sent().transfers.pop());
        }
        self.sent.push(Message { number: self.sent.len() + 1, transfers });
        if self.random.u32(0..40) == 0 {
            let again = self.any_sent();
            self.sent.push(again);
        }
    }

    fn any_sent(&mut self) -> Message {
        self.sent[self.random.usize(0..self.sent.len())].clone()
    }

    fn transfer(&mut self, number: u32) -> String {
        // Few accounts send much, and many a little.
        let debtor = self.random.u32(0..self.accounts).min(self.random.u32(0..self.accounts));
        let creditor = (debtor + self.random.u32(1..self.accounts)) % self.accounts;
        let (debtor_account, mut creditor_account) = (account(debtor), account(creditor));
        if self.random.u32(0..200) == 0 {
            let slip = (creditor_account.as_bytes()[21] - b'0' + 1) % 10;
            creditor_account.replace_range(21.., &slip.to_string());
        }
        let currency = if self.random.u32(0..300) == 0 { "USD" } else { CURRENCY };
        let cents = self.random.u32(100..5_000) * self.random.u32(1..4) * self.random.u32(1..3);
        let (euros, cents) = (cents / 100, cents % 100);
        let (debtor, creditor) = (name(debtor), name(creditor));
        let (uetr, reason) = (self.uetr(), escape(REASONS[self.random.usize(0..REASONS.len())]));
        format!(
            r#"    <CdtTrfTxInf>
      <PmtId><EndToEndId>E{number:07}</EndToEndId><TxId>T{number:07}</TxId><UETR>{uetr}</UETR></PmtId>
      <IntrBkSttlmAmt Ccy="{currency}">{euros}.{cents:02}</IntrBkSttlmAmt>
      <ChrgBr>SLEV</ChrgBr>
      <Dbtr><Nm>{debtor}</Nm></Dbtr>
      <DbtrAcct><Id><IBAN>{debtor_account}</IBAN></Id></DbtrAcct>
      <DbtrAgt><FinInstnId><BICFI>OTTLDEFF</BICFI></FinInstnId></DbtrAgt>
      <CdtrAgt><FinInstnId><BICFI>KAFKCZPP</BICFI></FinInstnId></CdtrAgt>
      <Cdtr><Nm>{creditor}</Nm></Cdtr>
      <CdtrAcct><Id><IBAN>{creditor_account}</IBAN></Id></CdtrAcct>
      <RmtInf><Ustrd>{reason}</Ustrd></RmtInf>
    </CdtTrfTxInf>
"#
        )
    }

    /// A random UUID, version 4.
    fn uetr(&mut self) -> String {
        let (high, low) = (self.random.u64(..), self.random.u64(..));
        let variant = 8 + (low >> 62);
        format!(
            "{:08x}-{:04x}-4{:03x}-{variant:x}{:03x}-{:012x}",
            high >> 32,
            high >> 16 & 0xffff,
            high & 0xfff,
            low >> 48 & 0xfff,
            low & 0xffff_ffff_ffff,
        )
    }
}

impl Message {
    fn xml(&self) -> String {
        let Self { number, transfers } = self;
        let (day, count, transfers) = (1 + number % 28, transfers.len(), transfers.concat());
        format!(
            r#"<Document xmlns="urn:iso:std:iso:20022:tech:xsd:pacs.008.001.08">
  <FIToFICstmrCdtTrf>
    <GrpHdr>
      <MsgId>OTTLA-{number:05}</MsgId>
      <CreDtTm>2024-05-{day:02}T08:30:00Z</CreDtTm>
      <NbOfTxs>{count}</NbOfTxs>
      <SttlmInf><SttlmMtd>CLRG</SttlmMtd></SttlmInf>
    </GrpHdr>
{transfers}  </FIToFICstmrCdtTrf>
</Document>
"#
        )
    }
}

fn account(number: u32) -> String {
    iban("DE", &format!("50010517{:010}", 1_000_003 * u64::from(number + 1) % 10_000_000_000))
}

fn name(account: u32) -> String {
    escape(NAMES[account as usize % NAMES.len()]).into_owned()
}
