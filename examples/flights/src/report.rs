//! What is asked of the data.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use crate::{
    data::{FLIGHT_COLUMNS, Tables, optional, required, weather_key},
    statistics::{Delays, Ratio},
    table::Table,
};

/// A route counts among the worst from this many flights on.
const MIN_ROUTE_FLIGHTS: u64 = 100;

/// Flights with something in common.
#[derive(Clone, Default)]
struct Group {
    flights: u64,
    cancelled: u64,
    departure: Delays,
    arrival: Delays,
}

impl Group {
    fn add(&mut self, departure: Option<i32>, arrival: Option<i32>) -> Result<(), String> {
        self.flights += 1;
        self.cancelled += u64::from(departure.is_none());
        departure.map_or(Ok(()), |minutes| self.departure.add(minutes))?;
        arrival.map_or(Ok(()), |minutes| self.arrival.add(minutes))
    }

    /// The columns that most tables share; see [`GROUP_COLUMNS`].
    fn cells(&self) -> [String; 6] {
        [
            self.flights.to_string(),
            Ratio::percent(self.cancelled, self.flights).to_string(),
            self.departure.mean().to_string(),
            self.arrival.mean().to_string(),
            minutes(self.departure.quantile(90)),
            self.arrival.late_share().to_string(),
        ]
    }
}

/// What [`Group::cells`] are called.
const GROUP_COLUMNS: [&str; 6] = ["flights", "cancelled %", "dep mean", "arr mean", "dep p90", "arr late %"];

/// A route's flights and its length.
#[derive(Default)]
struct Route {
    group: Group,
    distance_miles: u32,
    air_minutes: i64,
    flown: u64,
}

/// The report, which grows by one flight at a time.
pub struct Report {
    tables: Tables,
    all: Group,
    carriers: BTreeMap<String, Group>,
    months: BTreeMap<u8, Group>,
    days: BTreeMap<(i32, u8, u8), Group>,
    hours: BTreeMap<u8, Group>,
    origins: BTreeMap<String, Group>,
    winds: BTreeMap<&'static str, Group>,
    visibilities: BTreeMap<&'static str, Group>,
    ages: BTreeMap<&'static str, Group>,
    routes: BTreeMap<(String, String), Route>,
}

/// Adds without allocating a key that is there already.
fn group<'a>(groups: &'a mut BTreeMap<String, Group>, key: &str) -> &'a mut Group {
    if !groups.contains_key(key) {
        groups.insert(key.into(), Group::default());
    }
    groups.get_mut(key).expect("inserted above")
}

fn minutes(value: Option<i32>) -> String {
    value.map_or_else(|| "-".into(), |minutes| minutes.to_string())
}

/// The first character orders the bands and is not shown.
fn wind_band(thousandths: Option<i64>) -> &'static str {
    match thousandths {
        None => "9not known",
        Some(..5_000) => "0below 5 mph",
        Some(5_000..10_000) => "1 5 to 10 mph",
        Some(10_000..15_000) => "210 to 15 mph",
        Some(15_000..20_000) => "315 to 20 mph",
        Some(20_000..25_000) => "420 to 25 mph",
        Some(25_000..) => "525 mph and more",
    }
}

fn visibility_band(thousandths: Option<i64>) -> &'static str {
    match thousandths {
        None => "9not known",
        Some(..1_000) => "0below 1 mile",
        Some(1_000..3_000) => "11 to 3 miles",
        Some(3_000..6_000) => "23 to 6 miles",
        Some(6_000..10_000) => "36 to 10 miles",
        Some(10_000..) => "410 miles and more",
    }
}

fn age_band(years: Option<i32>) -> &'static str {
    match years {
        None => "9not known",
        Some(..5) => "0below 5 years",
        Some(5..10) => "1 5 to 10 years",
        Some(10..15) => "210 to 15 years",
        Some(15..20) => "315 to 20 years",
        Some(20..) => "420 years and more",
    }
}

impl Report {
    /// A report of no flights.
    pub fn new(tables: Tables) -> Self {
        Self {
            tables,
            all: Group::default(),
            carriers: BTreeMap::new(),
            months: BTreeMap::new(),
            days: BTreeMap::new(),
            hours: BTreeMap::new(),
            origins: BTreeMap::new(),
            winds: BTreeMap::new(),
            visibilities: BTreeMap::new(),
            ages: BTreeMap::new(),
            routes: BTreeMap::new(),
        }
    }

    /// Adds a flight, given as [`FLIGHT_COLUMNS`].
    pub fn add(&mut self, fields: [&str; FLIGHT_COLUMNS.len()]) -> Result<(), String> {
        let [month, day, hour, departure, arrival, carrier, tail, origin, dest, air_time, distance, year, time] =
            fields;
        let (year, month, day) = (required::<i32>(year)?, required(month)?, required(day)?);
        let (departure, arrival) = (optional(departure)?, optional(arrival)?);

        let weather = self.tables.weather.get(&weather_key(origin, time));
        let wind = wind_band(weather.and_then(|weather| weather.wind_speed));
        let visibility = visibility_band(weather.and_then(|weather| weather.visibility));
        let age = age_band(self.tables.planes.get(tail).copied().flatten().map(|made| year - made));

        let route = self.routes.entry((origin.into(), dest.into())).or_default();
        route.distance_miles = required(distance)?;
        if let Some(air_minutes) = optional::<i64>(air_time)? {
            route.air_minutes += air_minutes;
            route.flown += 1;
        }
        for group in [
            &mut self.all,
            &mut route.group,
            group(&mut self.carriers, carrier),
            group(&mut self.origins, origin),
            self.months.entry(month).or_default(),
            self.days.entry((year, month, day)).or_default(),
            self.hours.entry(required(hour)?).or_default(),
            self.winds.entry(wind).or_default(),
            self.visibilities.entry(visibility).or_default(),
            self.ages.entry(age).or_default(),
        ] {
            group.add(departure, arrival)?;
        }
        Ok(())
    }

    /// Prints everything.
    pub fn print(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "FLIGHTS THAT LEFT NEW YORK IN 2013\n")?;
        writeln!(out, "Delays are in minutes; late is 15 minutes or more; p90 is the smallest delay that at least")?;
        writeln!(out, "90 % of the flights do not exceed.\n")?;
        self.print_files(out)?;
        self.print_delays(out)?;
        self.carriers().print("By carrier (joined with airlines)", out)?;
        self.by_origin().print("By airport of origin (joined with airports)", out)?;
        numbered("month", &self.months).print("By month", out)?;
        numbered("hour", &self.hours).print("By hour of scheduled departure, local time", out)?;
        banded("<wind at departure", &self.winds).print("By wind (joined with weather by airport and hour)", out)?;
        banded("<visibility", &self.visibilities)
            .print("By visibility (joined with weather by airport and hour)", out)?;
        banded("<age of aircraft", &self.ages).print("By age of aircraft (joined with planes)", out)?;
        self.worst_days().print("The ten days with the longest mean departure delay", out)?;
        let title =
            format!("The fifteen routes with the longest mean arrival delay, of {MIN_ROUTE_FLIGHTS} flights or more");
        self.routes().truncated(15).print(&title, out)
    }

    fn print_files(&self, out: &mut impl Write) -> io::Result<()> {
        let mut table = Table::new(&["<file", "rows"]);
        table.push(vec!["flights.csv".into(), self.all.flights.to_string()]);
        for (name, rows) in &self.tables.rows {
            table.push(vec![(*name).into(), rows.to_string()]);
        }
        table.print("Input", out)
    }

    fn print_delays(&self, out: &mut impl Write) -> io::Result<()> {
        let mut table = Table::new(&["<delay", "flights", "mean", "p1", "p10", "p50", "p90", "p99", "max", "late %"]);
        for (name, delays) in [("departure", &self.all.departure), ("arrival", &self.all.arrival)] {
            let mut cells = vec![name.into(), delays.count().to_string(), delays.mean().to_string()];
            cells.extend([1, 10, 50, 90, 99, 100].map(|percent| minutes(delays.quantile(percent))));
            cells.push(delays.late_share().to_string());
            table.push(cells);
        }
        table.print("All flights", out)
    }

    /// A row for each carrier, the one with the longest mean departure delay first.
    pub fn carriers(&self) -> Table {
        let mut table = Table::new(&[
            "<code",
            "<airline",
            "flights",
            "cancelled %",
            "dep mean",
            "dep p50",
            "dep p90",
            "dep p99",
            "arr mean",
            "arr p50",
            "arr p90",
            "arr p99",
            "arr late %",
        ]);
        let mut carriers: Vec<_> = self.carriers.iter().collect();
        carriers.sort_by_key(|(_, group)| std::cmp::Reverse(group.departure.mean().tenths()));
        for (code, group) in carriers {
            let mut cells = vec![
                code.clone(),
                self.tables.airlines.get(code).cloned().unwrap_or_default(),
                group.flights.to_string(),
                Ratio::percent(group.cancelled, group.flights).to_string(),
            ];
            for delays in [&group.departure, &group.arrival] {
                cells.push(delays.mean().to_string());
                cells.extend([50, 90, 99].map(|percent| minutes(delays.quantile(percent))));
            }
            cells.push(group.arrival.late_share().to_string());
            table.push(cells);
        }
        table
    }

    fn by_origin(&self) -> Table {
        let mut table = Table::new(&[&["<code", "<airport"][..], &GROUP_COLUMNS].concat());
        for (code, group) in &self.origins {
            let mut cells = vec![code.clone(), self.airport(code)];
            cells.extend(group.cells());
            table.push(cells);
        }
        table
    }

    fn worst_days(&self) -> Table {
        let mut table = Table::new(&[&["<day"][..], &GROUP_COLUMNS].concat());
        let mut days: Vec<_> = self.days.iter().collect();
        days.sort_by_key(|(_, group)| std::cmp::Reverse(group.departure.mean().tenths()));
        for ((year, month, day), group) in days.into_iter().take(10) {
            let mut cells = vec![format!("{year}-{month:02}-{day:02}")];
            cells.extend(group.cells());
            table.push(cells);
        }
        table
    }

    /// A row for each route of enough flights, the one with the longest mean arrival delay first.
    pub fn routes(&self) -> Table {
        let mut table =
            Table::new(&[&["<from", "<to", "<airport", "miles", "air min"][..], &GROUP_COLUMNS, &["arr p99"]].concat());
        let mut routes: Vec<_> =
            self.routes.iter().filter(|(_, route)| route.group.flights >= MIN_ROUTE_FLIGHTS).collect();
        routes.sort_by_key(|(_, route)| std::cmp::Reverse(route.group.arrival.mean().tenths()));
        for ((origin, dest), route) in routes {
            let mean_air_time = Ratio::percent(route.air_minutes as u64, route.flown * 100);
            let mut cells = vec![
                origin.clone(),
                dest.clone(),
                self.airport(dest),
                route.distance_miles.to_string(),
                mean_air_time.to_string(),
            ];
            cells.extend(route.group.cells());
            cells.push(minutes(route.group.arrival.quantile(99)));
            table.push(cells);
        }
        table
    }

    /// The name of an airport; empty for the few that the file lacks.
    fn airport(&self, code: &str) -> String {
        self.tables.airports.get(code).cloned().unwrap_or_default()
    }
}

fn numbered(name: &'static str, groups: &BTreeMap<u8, Group>) -> Table {
    let mut table = Table::new(&[&[name][..], &GROUP_COLUMNS].concat());
    for (number, group) in groups {
        table.push([number.to_string()].into_iter().chain(group.cells()).collect());
    }
    table
}

fn banded(name: &'static str, groups: &BTreeMap<&'static str, Group>) -> Table {
    let mut table = Table::new(&[&[name][..], &GROUP_COLUMNS].concat());
    for (band, group) in groups {
        table.push([band[1..].to_owned()].into_iter().chain(group.cells()).collect());
    }
    table
}
