//! Credit transfers between banks as ISO 20022 has them, message `pacs.008`, in XML
//! (<https://www.iso20022.org/iso-20022-message-definitions>, any version). Of a message is read what the
//! ledger needs:
//!
//! ```xml
//! <FIToFICstmrCdtTrf>
//!   <GrpHdr><MsgId>M1</MsgId><NbOfTxs>1</NbOfTxs>…</GrpHdr>
//!   <CdtTrfTxInf>
//!     <PmtId><EndToEndId>E1</EndToEndId><TxId>T1</TxId><UETR>eb6305c9-…</UETR></PmtId>
//!     <IntrBkSttlmAmt Ccy="EUR">12.50</IntrBkSttlmAmt>
//!     <DbtrAcct><Id><IBAN>DE89370400440532013000</IBAN></Id></DbtrAcct>
//!     <CdtrAcct><Id><Othr><Id>4711</Id></Othr></Id></CdtrAcct>
//!   </CdtTrfTxInf>
//! </FIToFICstmrCdtTrf>
//! ```
//!
//! A file has one `Document` or, wrapped in whatever the channel between the banks wraps them in, several.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs;
use std::path::Path;

use common::{Failure, about};
use quick_xml::Reader;
use quick_xml::events::{BytesRef, BytesStart, Event};

use super::Transfer;

const MESSAGE: &str = "FIToFICstmrCdtTrf";
const HEADER: &str = "GrpHdr";
const TRANSFER: &str = "CdtTrfTxInf";

/// The transfers of a file, in the order in which they are there.
pub(crate) fn read(path: &Path) -> Result<Vec<Transfer>, Failure> {
    let bytes = fs::read(path).map_err(|error| about(path, error))?;
    let text = str::from_utf8(&bytes).map_err(|_| about(path, "is not in UTF-8"))?;
    read_text(path, text)
}

/// The transfers of a text, which is called `path` in errors.
pub(crate) fn read_text(path: &Path, text: &str) -> Result<Vec<Transfer>, Failure> {
    let mut reader = Reader::from_str(text);
    let mut parser = Parser::default();
    loop {
        let event = reader.read_event().map_err(Failure::from).and_then(|event| parser.take(&event));
        match event {
            Ok(true) => {}
            Ok(false) => return Ok(parser.transfers),
            Err(reason) => {
                let position = usize::try_from(reader.buffer_position())?.min(text.len());
                let line = 1 + text.as_bytes()[..position].iter().filter(|byte| **byte == b'\n').count();
                return Err(about(path, format!("line {line}: {reason}")));
            }
        }
    }
}

#[derive(Default)]
struct Parser {
    /// The names of the elements that are open.
    path: Vec<String>,
    /// Of the innermost one.
    text: String,
    /// How many elements are open in which the header or transfer lies whose fields are collected.
    base: usize,
    /// By their path below that, `PmtId/UETR` for instance.
    fields: HashMap<String, String>,
    message: Header,
    messages: usize,
    transfers: Vec<Transfer>,
}

/// Of a message.
#[derive(Default)]
struct Header {
    id: String,
    /// How many transfers it says it has, and how many were before it.
    announced: Option<usize>,
    before: usize,
}

impl Parser {
    /// Whether there is more to come.
    fn take(&mut self, event: &Event<'_>) -> Result<bool, Failure> {
        match event {
            Event::Start(element) => self.begin(element)?,
            Event::Empty(element) => {
                self.begin(element)?;
                self.end()?;
            }
            Event::Text(text) => self.text.push_str(&text.decode()?),
            Event::CData(text) => self.text.push_str(&text.decode()?),
            Event::GeneralRef(reference) => self.text.push_str(&resolved(reference)?),
            Event::End(_) => self.end()?,
            Event::Eof => return self.finish(),
            _ => {}
        }
        Ok(true)
    }

    fn begin(&mut self, element: &BytesStart<'_>) -> Result<(), Failure> {
        let name = str::from_utf8(element.local_name().into_inner())?.to_owned();
        if name == MESSAGE {
            self.message = Header { before: self.transfers.len(), ..Header::default() };
            self.messages += 1;
        }
        self.path.push(name.clone());
        if name == HEADER || name == TRANSFER {
            self.base = self.path.len();
            self.fields.clear();
        }
        if let Some(currency) = element.try_get_attribute("Ccy")? {
            self.fields.insert(format!("{name}@Ccy"), str::from_utf8(&currency.value)?.to_owned());
        }
        self.text.clear();
        Ok(())
    }

    fn end(&mut self) -> Result<(), Failure> {
        if self.path.len() > self.base {
            let text = self.text.trim().to_owned();
            self.fields.insert(self.path[self.base..].join("/"), text);
        }
        self.text.clear();
        match self.path.pop().as_deref() {
            Some(HEADER) => self.end_header(),
            Some(TRANSFER) => self.end_transfer(),
            Some(MESSAGE) => self.end_message(),
            _ => Ok(()),
        }
    }

    fn end_header(&mut self) -> Result<(), Failure> {
        self.message.id = self.field(&["MsgId"])?.to_owned();
        let count = self.field(&["NbOfTxs"])?;
        let count = count.parse().map_err(|_| format!("NbOfTxs must be a number, but is {count:?}"))?;
        self.message.announced = Some(count);
        Ok(())
    }

    fn end_transfer(&mut self) -> Result<(), Failure> {
        let end_to_end = self.field(&["PmtId/EndToEndId"])?;
        let message = self.message.id.clone();
        // The UETR is unique all over the world, the TxId for the bank that began the chain.
        let id = match self.field(&["PmtId/UETR", "PmtId/TxId"]) {
            Ok(id) => id.to_owned(),
            Err(_) => format!("{message}/{end_to_end}"),
        };
        let amount = self.field(&["IntrBkSttlmAmt"])?;
        let transfer = Transfer {
            message,
            id,
            debtor: self.field(&["DbtrAcct/Id/IBAN", "DbtrAcct/Id/Othr/Id"])?.to_owned(),
            creditor: self.field(&["CdtrAcct/Id/IBAN", "CdtrAcct/Id/Othr/Id"])?.to_owned(),
            currency: self.field(&["IntrBkSttlmAmt@Ccy"])?.to_owned(),
            amount: hundredths(amount)
                .ok_or_else(|| format!("IntrBkSttlmAmt must be like 12.50, but is {amount:?}"))?,
        };
        self.transfers.push(transfer);
        Ok(())
    }

    /// A message that was cut off, or put together wrongly, has other transfers than it says.
    fn end_message(&mut self) -> Result<(), Failure> {
        let id = &self.message.id;
        let announced = self.message.announced.ok_or("the message has no GrpHdr")?;
        let found = self.transfers.len() - self.message.before;
        if announced == found {
            Ok(())
        } else {
            Err(format!("NbOfTxs of the message {id} says {announced}, but there are {found}").into())
        }
    }

    fn finish(&self) -> Result<bool, Failure> {
        if let Some(open) = self.path.last() {
            Err(format!("the file ends within <{open}>").into())
        } else if self.messages == 0 {
            Err(format!("a message pacs.008 was expected, but there is no <{MESSAGE}>").into())
        } else {
            Ok(false)
        }
    }

    /// The first of these fields that is there.
    fn field(&self, paths: &[&str]) -> Result<&str, Failure> {
        let found = paths.iter().find_map(|path| self.fields.get(*path).filter(|text| !text.is_empty()));
        found.map(String::as_str).ok_or_else(|| format!("{} was expected", paths.join(" or ")).into())
    }
}

/// `&amp;` and the like.
fn resolved(reference: &BytesRef<'_>) -> Result<Cow<'static, str>, Failure> {
    if let Some(symbol) = reference.resolve_char_ref()? {
        return Ok(Cow::Owned(symbol.to_string()));
    }
    let name = reference.decode()?;
    match quick_xml::escape::resolve_predefined_entity(&name) {
        Some(text) => Ok(Cow::Borrowed(text)),
        None => Err(format!("&{name}; is not known").into()),
    }
}

/// An amount of money. More decimals than two may be there as long as they are 0.
fn hundredths(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let (fraction, rest) = fraction.split_at_checked(2).unwrap_or((fraction, ""));
    let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if text.is_empty() || !is_number(whole) || !is_number(fraction) || rest.bytes().any(|byte| byte != b'0') {
        return None;
    }
    format!("{whole}{fraction:0<2}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRANSFERS: &str = "<Document xmlns='urn:iso:std:iso:20022:tech:xsd:pacs.008.001.08'>\
        <FIToFICstmrCdtTrf>\
        <GrpHdr><MsgId>M&amp;1</MsgId><NbOfTxs>1</NbOfTxs></GrpHdr>\r\n<CdtTrfTxInf>\
        <PmtId><EndToEndId>E1</EndToEndId></PmtId><IntrBkSttlmAmt Ccy='EUR'>12.5</IntrBkSttlmAmt>\
        <DbtrAcct><Id><IBAN>DE89370400440532013000</IBAN></Id></DbtrAcct><Cdtr><Nm/></Cdtr>\
        <CdtrAcct><Id><Othr><Id>4711</Id></Othr></Id></CdtrAcct>\
        </CdtTrfTxInf></FIToFICstmrCdtTrf></Document>";

    fn transfers(text: &str) -> Result<Vec<Transfer>, String> {
        read_text(Path::new("file"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_message_is_read() {
        let expected = Transfer {
            message: "M&1".into(),
            id: "M&1/E1".into(),
            debtor: "DE89370400440532013000".into(),
            creditor: "4711".into(),
            currency: "EUR".into(),
            amount: 1250,
        };
        assert_eq!(transfers(TRANSFERS), Ok(vec![expected.clone()]));
        let prefixed = TRANSFERS.replace("</", "</p:").replace('<', "<p:").replace("<p:/p:", "</p:");
        assert_eq!(transfers(&prefixed), Ok(vec![expected]));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let wrong = |from: &str, to: &str| transfers(&TRANSFERS.replace(from, to)).expect_err("is wrong");
        assert!(wrong("12.5", "12.505").contains("line 2: IntrBkSttlmAmt must be like"));
        assert!(wrong("<EndToEndId>E1</EndToEndId>", "").contains("PmtId/EndToEndId was expected"));
        assert!(wrong("<NbOfTxs>1", "<NbOfTxs>2").contains("says 2, but there are 1"));
        assert!(wrong("</Document>", "").contains("ends within <Document>"));
        assert!(transfers("").expect_err("is empty").contains("pacs.008 was expected"));
    }
}
