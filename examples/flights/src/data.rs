//! The CSV files: columns are found by name, every value is parsed with its line number in the error.

use std::{
    collections::BTreeMap,
    fmt::Display,
    fs::File,
    path::Path,
    str::{self, FromStr},
};

use crate::Error;

/// The columns of `flights.csv` that are read, in the order in which [`crate::report::Report::add`] gets them.
pub const FLIGHT_COLUMNS: [&str; 13] = [
    "month",
    "day",
    "hour",
    "dep_delay",
    "arr_delay",
    "carrier",
    "tailnum",
    "origin",
    "dest",
    "air_time",
    "distance",
    "year",
    "time_hour",
];

/// The small files, each of which a flight is joined with.
pub struct Tables {
    /// Names of airlines by carrier code.
    pub airlines: BTreeMap<String, String>,
    /// Names of airports by FAA code.
    pub airports: BTreeMap<String, String>,
    /// Years of manufacture by tail number; `None` where it is not known.
    pub planes: BTreeMap<String, Option<i32>>,
    /// Observations by airport and hour; see [`weather_key`].
    pub weather: BTreeMap<String, Weather>,
    /// Rows of each file, in the order in which they are read.
    pub rows: Vec<(&'static str, u64)>,
}

/// An hourly observation. `None` where there is no measurement.
pub struct Weather {
    /// Miles an hour, in thousandths.
    pub wind_speed: Option<i64>,
    /// Miles, in thousandths; at most 10 are reported.
    pub visibility: Option<i64>,
}

impl Tables {
    /// Reads all of them from `folder`.
    pub fn read(folder: &Path) -> Result<Self, Error> {
        let mut tables = Self {
            airlines: BTreeMap::new(),
            airports: BTreeMap::new(),
            planes: BTreeMap::new(),
            weather: BTreeMap::new(),
            rows: Vec::new(),
        };
        let rows = read_csv(folder, "airlines.csv", ["carrier", "name"], |[carrier, name]| {
            tables.airlines.insert(carrier.into(), name.into());
            Ok(())
        })?;
        tables.rows.push(("airlines.csv", rows));
        let rows = read_csv(folder, "airports.csv", ["faa", "name"], |[faa, name]| {
            tables.airports.insert(faa.into(), name.into());
            Ok(())
        })?;
        tables.rows.push(("airports.csv", rows));
        let rows = read_csv(folder, "planes.csv", ["tailnum", "year"], |[tailnum, year]| {
            tables.planes.insert(tailnum.into(), optional(year)?);
            Ok(())
        })?;
        tables.rows.push(("planes.csv", rows));
        let columns = ["origin", "time_hour", "wind_speed", "visib"];
        let rows = read_csv(folder, "weather.csv", columns, |[origin, time_hour, wind_speed, visibility]| {
            let weather = Weather { wind_speed: thousandths(wind_speed)?, visibility: thousandths(visibility)? };
            tables.weather.insert(weather_key(origin, time_hour), weather);
            Ok(())
        })?;
        tables.rows.push(("weather.csv", rows));
        Ok(tables)
    }
}

/// What flights and weather are joined by. Not the local hour, which comes twice when summer time ends.
pub fn weather_key(origin: &str, time_hour: &str) -> String {
    [origin, time_hour].join(" ")
}

/// Streams `columns` of the file `name` through `add`. Returns the number of rows.
pub fn read_csv<const N: usize>(
    folder: &Path,
    name: &str,
    columns: [&str; N],
    mut add: impl FnMut([&str; N]) -> Result<(), String>,
) -> Result<u64, Error> {
    let path = folder.join(name);
    let at = |error: &dyn Display| format!("{}: {error}", path.display());
    let file = File::open(&path).map_err(|error| at(&error))?;
    let mut reader = csv::ReaderBuilder::new().buffer_capacity(256 * 1024).from_reader(file);
    let header = reader.headers().map_err(|error| at(&error))?;
    let mut indices = [0; N];
    for (index, column) in indices.iter_mut().zip(columns) {
        *index = header.iter().position(|name| name == column).ok_or_else(|| at(&format!("no column {column}")))?;
    }
    let mut record = csv::StringRecord::new();
    let mut rows = 0;
    while reader.read_record(&mut record).map_err(|error| at(&error))? {
        rows += 1;
        // The reader refuses records that are shorter than the header.
        add(indices.map(|index| &record[index])).map_err(|error| at(&format!("row {rows}: {error}")))?;
    }
    Ok(rows)
}

/// A value that may be `NA`.
pub fn optional<T: FromStr>(text: &str) -> Result<Option<T>, String> {
    if text == "NA" || text.is_empty() { Ok(None) } else { required(text).map(Some) }
}

/// A value that must be there.
pub fn required<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("cannot read {text:?}"))
}

/// A decimal number in thousandths, truncated, without going through floating point.
fn thousandths(text: &str) -> Result<Option<i64>, String> {
    if text == "NA" || text.is_empty() {
        return Ok(None);
    }
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = fraction.bytes().chain([b'0'; 3]).take(3);
    let fraction = digits.map(|digit| if digit.is_ascii_digit() { digit as char } else { '?' });
    required(&whole.chars().chain(fraction).collect::<String>()).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_become_thousandths() {
        for (text, expected) in [("10.357019999999999", 10357), ("0.06", 60), ("7", 7000), ("1048.36058", 1048360)] {
            assert_eq!(thousandths(text), Ok(Some(expected)));
        }
        assert_eq!(thousandths("NA"), Ok(None));
        assert!(thousandths("1.x").is_err());
        assert!(thousandths("wind").is_err());
    }
}
