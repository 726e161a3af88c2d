//! Tables of ASes: where their users are and how many.
//!
//! A table is text with a heading, its columns separated by tabs, commas or semicolons. Columns
//! are known by their headings, in any order and case; others are ignored.

use std::collections::HashMap;

use anycast_bgp::Asn;
use anycast_fleet::Coordinates;

/// What the headings of each column may be.
const COLUMNS: [(Column, &[&str]); 7] = [
    (Column::Asn, &["asn", "as", "as_number"]),
    (Column::Lat, &["lat", "latitude"]),
    (Column::Lon, &["lon", "lng", "long", "longitude"]),
    (Column::Weight, &["weight", "users", "ipv4", "addresses", "share"]),
    (Column::Name, &["name", "as_name"]),
    (Column::City, &["city"]),
    (Column::Country, &["cc", "country"]),
];

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Column {
    Asn,
    Lat,
    Lon,
    Weight,
    Name,
    City,
    Country,
}

/// What a table says of one AS.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// How much it counts: users, addresses, whatever the table counts. 1 if there is no such
    /// column.
    pub weight: f64,
    /// Where its users are.
    pub place: Option<Coordinates>,
    /// Who it is; may be empty.
    pub name: String,
    /// May be empty.
    pub city: String,
    /// May be empty.
    pub country: String,
}

/// A table.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    /// By number.
    pub rows: HashMap<Asn, Row>,
    /// The heading of the column of weights; `None`: each AS counts 1.
    pub weighted_by: Option<String>,
}

/// Why a table cannot be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TableError {
    /// It has no heading.
    #[error(
        "the first line must name the columns, one of them `asn`, separated by tabs, commas or semicolons; also known: `lat` and `lon`, `weight` (or `users`, `ipv4`), `name`, `city`, `cc`"
    )]
    NoHeading,
    /// A column is there twice.
    #[error("two columns mean the same: `{0}` and `{1}`; rename one of them")]
    Twice(String, String),
    /// A line has too few fields.
    #[error("line {line}: {fields} fields, but the heading has {headings}")]
    Fields {
        /// Counted from 1.
        line: usize,
        /// How many there are.
        fields: usize,
        /// How many there should be.
        headings: usize,
    },
    /// A field is not what its column says.
    #[error("line {line}: {field:?} is no {what}")]
    Field {
        /// Counted from 1.
        line: usize,
        /// The field, at most 40 characters of it.
        field: String,
        /// What it should be.
        what: &'static str,
    },
    /// An AS is there twice.
    #[error("line {line}: AS{asn} is there already; leave one line for each AS")]
    Again {
        /// Counted from 1.
        line: usize,
        /// The AS.
        asn: Asn,
    },
    /// Not text.
    #[error("line {0} is no UTF-8 text")]
    NoText(usize),
}

impl Table {
    /// Reads a table, already unpacked.
    ///
    /// # Errors
    /// The first thing that is wrong, with its line.
    pub fn parse(octets: &[u8]) -> Result<Self, TableError> {
        let mut lines = octets.split(|octet| *octet == b'\n').enumerate().map(|(at, line)| {
            let text = std::str::from_utf8(line).map_err(|_| TableError::NoText(at + 1))?;
            Ok((at + 1, text.trim_end_matches('\r')))
        });
        let (_, heading) = lines.next().ok_or(TableError::NoHeading)??;
        let heading = heading.trim_start_matches(['\u{feff}', '#']);
        let by = ['\t', ';', ','].into_iter().find(|by| heading.contains(*by)).unwrap_or('\t');
        let headings: Vec<String> =
            fields(heading, by).iter().map(|it| it.trim().to_lowercase()).collect();
        let mut place = [None; COLUMNS.len()];
        for (column, names) in COLUMNS {
            let mut found = headings.iter().enumerate().filter(|(_, it)| names.contains(&&***it));
            place[column as usize] = found.next().map(|(at, _)| at);
            if let (Some(first), Some((_, second))) = (place[column as usize], found.next()) {
                return Err(TableError::Twice(headings[first].clone(), second.clone()));
            }
        }
        let asn = place[Column::Asn as usize].ok_or(TableError::NoHeading)?;
        let weighted_by = place[Column::Weight as usize].map(|at| headings[at].clone());
        let mut table = Self { rows: HashMap::new(), weighted_by };
        for line in lines {
            let (at, text) = line?;
            if text.trim().is_empty() || text.starts_with('#') {
                continue;
            }
            let cells = fields(text, by);
            if cells.len() < headings.len() {
                let (fields, headings) = (cells.len(), headings.len());
                return Err(TableError::Fields { line: at, fields, headings });
            }
            let number = number(&cells[asn]).ok_or_else(|| wrong(at, &cells[asn], "AS number"))?;
            let row = read_row(at, &cells, &place)?;
            if table.rows.insert(number, row).is_some() {
                return Err(TableError::Again { line: at, asn: number });
            }
        }
        Ok(table)
    }
}

fn read_row(
    line: usize,
    cells: &[String],
    place: &[Option<usize>; COLUMNS.len()],
) -> Result<Row, TableError> {
    let cell = |column: Column| place[column as usize].map_or("", |at| cells[at].trim());
    let degrees = |column: Column, most: f64, what: &'static str| match cell(column) {
        "" => Ok(None),
        text => match text.parse::<f64>() {
            Ok(value) if value.abs() <= most => Ok(Some(value)),
            _ => Err(wrong(line, text, what)),
        },
    };
    let lat = degrees(Column::Lat, 90.0, "latitude from -90 to 90")?;
    let lon = degrees(Column::Lon, 180.0, "longitude from -180 to 180")?;
    let weight = match cell(Column::Weight) {
        "" if place[Column::Weight as usize].is_some() => 0.0,
        "" => 1.0,
        text => match text.parse::<f64>() {
            Ok(weight) if weight.is_finite() && weight >= 0.0 => weight,
            _ => return Err(wrong(line, text, "weight: a number that is not negative")),
        },
    };
    Ok(Row {
        weight,
        place: lat.zip(lon).map(|(lat, lon)| Coordinates { lat, lon }),
        name: cell(Column::Name).to_owned(),
        city: cell(Column::City).to_owned(),
        country: cell(Column::Country).to_uppercase(),
    })
}

/// An AS number with or without "AS" before it.
pub fn number(text: &str) -> Option<Asn> {
    let text = text.trim();
    let digits = match text.get(..2) {
        Some(start) if start.eq_ignore_ascii_case("as") => &text[2..],
        _ => text,
    };
    digits.parse::<u32>().ok().filter(|number| *number != 0 && *number != u32::MAX).map(Asn)
}

fn wrong(line: usize, field: &str, what: &'static str) -> TableError {
    TableError::Field { line, field: field.chars().take(40).collect(), what }
}

/// The fields of a line; with commas or semicolons a field may be in quotes (RFC 4180 §2).
fn fields(line: &str, by: char) -> Vec<String> {
    if by == '\t' || !line.contains('"') {
        return line.split(by).map(str::to_owned).collect();
    }
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        let field = fields.last_mut().expect("there is always one");
        match letter {
            '"' if quoted && letters.peek() == Some(&'"') => {
                letters.next();
                field.push('"');
            }
            '"' => quoted = !quoted,
            _ if letter == by && !quoted => fields.push(String::new()),
            _ => field.push(letter),
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn columns_are_found_by_their_headings() {
        let place = Some(Coordinates { lat: 50.5, lon: -8.25 });
        let row = |weight, place, name: &str| Row {
            weight,
            place,
            name: name.to_owned(),
            ..Row::default()
        };
        for (name, text, want) in [
            (
                "tabs",
                "asn\tipv4\tlat\tlon\tname\n64501\t12\t50.5\t-8.25\tAn, Inc.\n",
                row(12.0, place, "An, Inc."),
            ),
            (
                "commas, quotes",
                "Name,AS,Users,Lat,Lon\r\n\"An, \"\"Inc.\"\"\",AS64501,12,50.5,-8.25\r\n",
                row(12.0, place, "An, \"Inc.\""),
            ),
            ("no weights", "asn;latitude;longitude\n64501;50.5;-8.25", row(1.0, place, "")),
            ("no place", "asn,weight,lat,lon\n64501,,,", row(0.0, None, "")),
            ("a comment", "#asn,weight\n# 64502,1\n\n64501,3", row(3.0, None, "")),
        ] {
            let table = Table::parse(text.as_bytes()).unwrap();
            assert_eq!(table.rows, HashMap::from([(Asn(64501), want)]), "{name}");
        }
    }

    #[test]
    fn faults_name_their_line() {
        for (text, want) in [
            ("", "the first line must name the columns"),
            ("64501,1\n", "the first line must name the columns"),
            ("asn,weight,users\n", "two columns mean the same: `weight` and `users`"),
            ("asn,weight\n64501\n", "line 2: 1 fields, but the heading has 2"),
            ("asn,weight\n64501,many\n", "line 2: \"many\" is no weight"),
            ("asn,weight\n64501,-1\n", "line 2: \"-1\" is no weight"),
            ("asn,weight\n64501,NaN\n", "line 2: \"NaN\" is no weight"),
            ("asn,lat,lon\n64501,91,0\n", "line 2: \"91\" is no latitude"),
            ("asn,weight\n0,1\n", "line 2: \"0\" is no AS number"),
            ("asn,weight\n\n64501,1\nAS64501,1\n", "line 4: AS64501 is there already"),
        ] {
            let error = Table::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with(want), "{text:?}: {error}");
        }
        assert_eq!(Table::parse(b"asn\n\xff\n"), Err(TableError::NoText(2)));
    }

    proptest! {
        #[test]
        fn any_octets_are_read_or_refused_without_panic(octets: Vec<u8>, text in "asn[,;\t]lat[,;\t]lon\n(.*\n){0,4}") {
            let _ = Table::parse(&octets);
            let _ = Table::parse(text.as_bytes());
        }
    }
}
