//! The form of [Online Retail II](https://archive.ics.uci.edu/dataset/502/online+retail+ii), two years of a
//! British wholesaler of gifts (CC BY 4.0), and of its older sister, [Online
//! Retail](https://archive.ics.uci.edu/dataset/352/online+retail): saved as CSV, one row for each product of
//! an invoice.
//!
//! ```text
//! Invoice,StockCode,Description,Quantity,InvoiceDate,Price,Customer ID,Country
//! 489434,85048,15CM CHRISTMAS GLASS BALL 20 LIGHTS,12,2009-12-01 07:45:00,6.95,13085.0,United Kingdom
//! C489449,22087,PAPER BUNTING WHITE LACE,-12,2009-12-01 10:33:00,2.95,16321.0,Australia
//! ```
//!
//! The sisters differ in the names of columns (`InvoiceNo`, `UnitPrice`, `CustomerID`) and in how dates are
//! written (`12/1/2010 8:26`, the month first). Copies of them are in Latin-1.

use std::borrow::Cow;
use std::fs::File;
use std::path::Path;

use common::{Failure, about};
use csv::{ByteRecord, ReaderBuilder};
use jiff::civil::DateTime;

use crate::number::{decimal, scaled};
use crate::order::{Line, Order, Row};

/// The columns, each by all its names. The first ones are what is written.
const COLUMNS: [&[&str]; 8] = [
    &["Invoice", "InvoiceNo"],
    &["StockCode"],
    &["Description"],
    &["Quantity"],
    &["InvoiceDate"],
    &["Price", "UnitPrice"],
    &["Customer ID", "CustomerID"],
    &["Country"],
];
const DATES: [&str; 4] = ["%Y-%m-%d %H:%M:%S", "%m/%d/%Y %H:%M", "%Y-%m-%dT%H:%M:%S", "%m/%d/%Y %H:%M:%S"];
/// Of a row's quantity and of what it is worth, ten thousand millions: sums of them do not overflow.
const LARGEST: u64 = 10_000_000_000 * Order::SCALE.unsigned_abs();
const DECIMALS: usize = Order::SCALE.ilog10() as usize;

/// The rows of a file.
pub fn read(path: &Path) -> Result<Vec<Row>, Failure> {
    let file = File::open(path).map_err(|error| about(path, error))?;
    let mut reader = ReaderBuilder::new().has_headers(false).from_reader(file);
    let mut record = ByteRecord::new();
    let mut columns = None;
    let mut rows = Vec::new();
    while reader.read_byte_record(&mut record).map_err(|error| about(path, error))? {
        let line = record.position().map_or(0, csv::Position::line);
        let at_line = |reason| about(path, format!("line {line}: {reason}"));
        match &columns {
            None => columns = Some(Columns::named_in(&record).map_err(at_line)?),
            Some(columns) => rows.push(columns.row(&record).map_err(at_line)?),
        }
    }
    if columns.is_none() {
        return Err(about(path, "is empty; a first line with the names of the columns was expected"));
    }
    Ok(rows)
}

/// Writes rows in the newer form.
pub fn write(path: &Path, rows: &[Row]) -> Result<(), Failure> {
    let mut writer = csv::Writer::from_path(path).map_err(|error| about(path, error))?;
    let header = COLUMNS.map(|names| names[0]);
    writer.write_record(header).map_err(|error| about(path, error))?;
    for row in rows {
        let Line { product, description, quantity, price } = &row.line;
        let (quantity, price) = (quantity.to_string(), decimal(*price, DECIMALS, 2));
        let at = row.at.strftime(DATES[0]).to_string();
        let customer = row.customer.as_deref().unwrap_or_default();
        let fields = [&row.invoice, product, description, &quantity, &at, &price, customer, &row.country];
        writer.write_record(fields).map_err(|error| about(path, error))?;
    }
    writer.flush().map_err(|error| about(path, error))
}

/// Where each of [`COLUMNS`] is in this file. Others are passed over.
struct Columns([usize; COLUMNS.len()]);

impl Columns {
    fn named_in(header: &ByteRecord) -> Result<Self, String> {
        let names: Vec<_> = header.iter().map(text).collect();
        let mut places = [0; COLUMNS.len()];
        for (place, aliases) in places.iter_mut().zip(COLUMNS) {
            let is_it = |name: &Cow<'_, str>| aliases.iter().any(|alias| alias.eq_ignore_ascii_case(name));
            let Some(found) = names.iter().position(is_it) else {
                return Err(format!("a column {} was expected, but there is none", aliases.join(" or ")));
            };
            *place = found;
        }
        Ok(Self(places))
    }

    fn row(&self, record: &ByteRecord) -> Result<Row, String> {
        let [invoice, product, description, quantity, at, price, customer, country] =
            self.0.map(|place| text(record.get(place).unwrap_or_default()));
        let number = |what, found: &str, decimals| {
            scaled(found, decimals).ok_or_else(|| format!("{what} must be a number, but is {found:?}"))
        };
        if invoice.is_empty() {
            return Err("a number of an invoice was expected, but it is empty".to_owned());
        }
        // Spreadsheets make decimals of numbers that may be missing.
        let customer = customer.strip_suffix(".0").unwrap_or(&customer);
        let line = Line {
            product: product.into_owned(),
            description: description.into_owned(),
            quantity: number("Quantity", &quantity, 0)?,
            price: number("Price", &price, DECIMALS)?,
        };
        let total = line.quantity.checked_mul(line.price);
        if total.is_none_or(|total| total.unsigned_abs().max(line.quantity.unsigned_abs()) > LARGEST) {
            return Err(format!("{quantity} times {price} is more than there can be"));
        }
        Ok(Row {
            invoice: invoice.into_owned(),
            at: date(&at)?,
            customer: (!customer.is_empty()).then(|| customer.to_owned()),
            country: country.into_owned(),
            line,
        })
    }
}

fn date(text: &str) -> Result<DateTime, String> {
    let date = DATES.iter().find_map(|form| DateTime::strptime(form, text).ok());
    date.ok_or_else(|| {
        format!("InvoiceDate must be like 2009-12-01 07:45:00 or 12/1/2009 7:45, but is {text:?}")
    })
}

/// A field without the space around it, and without the mark with which some programs begin a file.
fn text(field: &[u8]) -> Cow<'_, str> {
    match str::from_utf8(field) {
        Ok(text) => Cow::Borrowed(text.trim_start_matches('\u{feff}').trim()),
        // Each byte of Latin-1 is the character of that number.
        Err(_) => {
            Cow::Owned(field.iter().map(|byte| char::from(*byte)).collect::<String>().trim().to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(bytes: &[u8]) -> Result<Vec<Row>, String> {
        let path = std::env::temp_dir().join(format!("retail-{:x}.csv", fastrand::u64(..)));
        std::fs::write(&path, bytes).expect("is written");
        let rows =
            read(&path).map_err(|error| error.to_string().split_once(": ").expect("a path").1.to_owned());
        std::fs::remove_file(&path).expect("is removed");
        rows
    }

    #[test]
    fn both_forms_are_read() {
        let newer = "Invoice,StockCode,Description,Quantity,InvoiceDate,Price,Customer ID,Country\r\n\
                     C489449,22087,\"LACE, \"\"RED\"\"\",-12,2009-12-01 10:33:00,2.95,16321.0,Australia\r\n";
        let older = "\u{feff}InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,\
                     Country,X\n\
                     C489449,22087,\"LACE, \"\"RED\"\"\",-12,12/1/2009 10:33,2.95,16321,Australia,1";
        let [newer, older] = [newer, older].map(|text| read_text(text.as_bytes()).expect("is read"));
        assert_eq!(newer, older);
        assert_eq!(newer[0].line.price, 29_500);
        assert_eq!(newer[0].line.description, "LACE, \"RED\"");
        assert_eq!(newer[0].customer.as_deref(), Some("16321"));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let header = "Invoice,StockCode,Description,Quantity,InvoiceDate,Price,Customer ID,Country\n";
        let wrong = |rest: &str| read_text(format!("{header}{rest}").as_bytes()).expect_err("is wrong");
        assert!(wrong("1,2,3,x,2009-12-01 10:33:00,1,,UK\n").contains("line 2: Quantity must be a number"));
        assert!(wrong("1,2,3,4,1 Dec,1,,UK\n").contains("InvoiceDate must be like"));
        assert!(wrong("1,2,3\n").contains("line"));
        assert!(read_text(b"").expect_err("is empty").contains("empty"));
        assert!(read_text(b"a,b\n").expect_err("has no columns").contains("Invoice or InvoiceNo"));
    }

    #[test]
    fn latin_1_is_read() {
        let rows = read_text(
            b"Invoice,StockCode,Description,Quantity,InvoiceDate,Price,Customer ID,Country\n\
              1,2,\xa35 VOUCHER,1,2009-12-01 10:33:00,5,,EIRE\n",
        );
        assert_eq!(rows.expect("is read")[0].line.description, "\u{a3}5 VOUCHER");
    }
}
