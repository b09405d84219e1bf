//! Recorded prices: `unix_seconds,FEED@SOURCE,...`, one row per point in time.

use std::collections::BTreeMap;

/// Decimals of a price in the feed contracts.
pub const DECIMALS: u32 = 8;

const MAX_BYTES: usize = 64 * 1024 * 1024;
const MAX_COLUMNS: usize = 64;

/// Why a file of prices cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PricesError {
    /// The whole file.
    #[error("{0}")]
    File(String),
    /// One line of it.
    #[error("line {line}: {why}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong, and what is expected.
        why: String,
    },
}

/// A column: one source of one feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// `EUR/USD`, for example: at most 32 bytes.
    pub feed: String,
    /// `ecb`, for example: at most 32 bytes.
    pub source: String,
}

/// A row: prices in units of 10^-8, one per column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Seconds since 1970.
    pub time: u64,
    /// In the order of the columns.
    pub prices: Vec<i128>,
}

/// A file of prices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prices {
    /// The columns.
    pub columns: Vec<Column>,
    /// The rows, ascending in time.
    pub rows: Vec<Row>,
}

fn bad(line: usize, why: impl Into<String>) -> PricesError {
    PricesError::Line { line, why: why.into() }
}

fn column(text: &str) -> Result<Column, PricesError> {
    let fits = |part: &str| (1..=32).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_graphic());
    match text.split_once('@') {
        Some((feed, source)) if fits(feed) && fits(source) => Ok(Column { feed: feed.into(), source: source.into() }),
        _ => Err(bad(1, format!("{text:?} is no column: expected FEED@SOURCE, each 1 to 32 printable characters"))),
    }
}

/// A decimal with at most 8 decimals and 15 digits before them, above zero.
fn price(text: &str) -> Option<i128> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str, most: usize| part.len() <= most && part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole, 15) || !digits(fraction, DECIMALS as usize) {
        return None;
    }
    let padded = format!("{whole}{fraction:0<width$}", width = DECIMALS as usize);
    padded.parse().ok().filter(|value| *value > 0)
}

impl Prices {
    /// Reads a file's text.
    ///
    /// # Errors
    /// [`PricesError`] names the line.
    pub fn parse(text: &str) -> Result<Self, PricesError> {
        if text.len() > MAX_BYTES {
            return Err(PricesError::File("larger than 64 MiB".to_owned()));
        }
        let mut lines = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim_end()));
        let (_, header) = lines.next().ok_or_else(|| PricesError::File("the file is empty".to_owned()))?;
        let mut names = header.split(',');
        if names.next() != Some("unix_seconds") {
            return Err(bad(1, "expected a header unix_seconds,FEED@SOURCE,..."));
        }
        let columns = names.map(column).collect::<Result<Vec<_>, _>>()?;
        if columns.is_empty() || columns.len() > MAX_COLUMNS {
            return Err(bad(1, format!("{} columns: expected 1 to {MAX_COLUMNS}", columns.len())));
        }
        for (index, column) in columns.iter().enumerate() {
            if columns.iter().take(index).any(|other| other == column) {
                return Err(bad(1, format!("{}@{} appears twice", column.feed, column.source)));
            }
        }
        let mut rows: Vec<Row> = Vec::new();
        for (line, text) in lines.filter(|(_, text)| !text.is_empty()) {
            let row = row(line, text, columns.len())?;
            if rows.last().is_some_and(|last| last.time >= row.time) {
                return Err(bad(line, "its time is not after the row before"));
            }
            rows.push(row);
        }
        if rows.is_empty() {
            return Err(PricesError::File("the file has no rows".to_owned()));
        }
        Ok(Self { columns, rows })
    }

    /// Each feed once, in order of appearance, with the columns of its sources.
    #[must_use]
    pub fn feeds(&self) -> Vec<(String, Vec<usize>)> {
        let mut order: Vec<String> = Vec::new();
        let mut columns: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (index, column) in self.columns.iter().enumerate() {
            if !columns.contains_key(column.feed.as_str()) {
                order.push(column.feed.clone());
            }
            columns.entry(&column.feed).or_default().push(index);
        }
        order.into_iter().map(|feed| (feed.clone(), columns.remove(feed.as_str()).unwrap_or_default())).collect()
    }
}

fn row(line: usize, text: &str, columns: usize) -> Result<Row, PricesError> {
    let mut fields = text.split(',');
    let time = fields.next().and_then(|field| field.parse().ok());
    let time = time.ok_or_else(|| bad(line, "the first field is no time in seconds since 1970"))?;
    let fields: Vec<&str> = fields.collect();
    if fields.len() != columns {
        return Err(bad(line, format!("{} prices, the header has {columns}", fields.len())));
    }
    let parse = |field: &&str| {
        price(field).ok_or_else(|| {
            bad(line, format!("{field:?} is no price: expected a number above zero with at most 8 decimals"))
        })
    };
    Ok(Row { time, prices: fields.iter().map(parse).collect::<Result<_, _>>()? })
}

/// The median as the contract takes it: of an even number of prices the lower middle one; none of none.
#[must_use]
pub fn median(mut prices: Vec<i128>) -> Option<i128> {
    prices.sort_unstable();
    prices.get(prices.len().checked_sub(1)? / 2).copied()
}

/// A price for people: at least two decimals, no zeros behind.
#[must_use]
pub fn display(price: i128) -> String {
    let scale = 10_i128.pow(DECIMALS);
    let fraction = format!("{:08}", (price % scale).abs());
    let mut shown = fraction.trim_end_matches('0').to_owned();
    while shown.len() < 2 {
        shown.push('0');
    }
    format!("{}.{shown}", price / scale)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_and_feeds_keep_their_order() {
        let prices = Prices::parse("unix_seconds,B@x,A@y,B@z\n1,2.5,3,0.00000001\n2,1,1,1\n").unwrap();
        assert_eq!(prices.rows.first().unwrap().prices, vec![250_000_000, 300_000_000, 1]);
        assert_eq!(prices.feeds(), vec![("B".to_owned(), vec![0, 2]), ("A".to_owned(), vec![1])]);
    }

    #[test]
    fn every_bad_line_is_named() {
        let cases = [
            ("", None),
            ("unix_seconds,A@x\n", None),
            ("time,A@x\n1,2\n", Some(1)),
            ("unix_seconds,A\n1,2\n", Some(1)),
            ("unix_seconds,A@x,A@x\n1,2,2\n", Some(1)),
            ("unix_seconds,A@x\n1,2\n2,\n", Some(3)),
            ("unix_seconds,A@x\n1,0\n", Some(2)),
            ("unix_seconds,A@x\n1,-1\n", Some(2)),
            ("unix_seconds,A@x\n1,1e3\n", Some(2)),
            ("unix_seconds,A@x\n1,1.123456789\n", Some(2)),
            ("unix_seconds,A@x\n1,1,1\n", Some(2)),
            ("unix_seconds,A@x\nnoon,1\n", Some(2)),
            ("unix_seconds,A@x\n2,1\n2,1\n", Some(3)),
        ];
        for (text, line) in cases {
            match (Prices::parse(text), line) {
                (Err(PricesError::Line { line, .. }), Some(expected)) => assert_eq!(line, expected, "{text:?}"),
                (Err(PricesError::File(_)), None) => {}
                (other, _) => assert!(other.is_err(), "{text:?} was taken"),
            }
        }
    }

    #[test]
    fn the_median_of_an_even_number_is_the_lower() {
        assert_eq!(median(vec![3, 1]), Some(1));
        assert_eq!(median(vec![3, 1, 2]), Some(2));
        assert_eq!(median(vec![4, 3, 1, 2]), Some(2));
        assert_eq!(median(vec![]), None);
    }

    #[test]
    fn prices_are_shown_as_people_write_them() {
        assert_eq!(display(116_950_000), "1.1695");
        assert_eq!(display(2_000_000_000_000), "20000.00");
        assert_eq!(display(1), "0.00000001");
    }
}
