//! Why do flights from New York leave late? Group-bys, joins and exact quantiles over every flight of 2013.
//!
//! An ordinary command-line program that knows nothing of Phala: it reads CSV files from one folder, prints its report
//! to standard output and writes CSV files to another folder. Its output depends on its input alone:
//! sums are integers, maps are ordered, and quantiles are exact. The flights are streamed, so that memory depends on
//! the number of carriers, routes and weather records, never on the number of flights.

mod data;
mod report;
mod statistics;
mod table;

use std::{
    fs,
    io::{self, BufWriter, Write},
    path::PathBuf,
    process::ExitCode,
};

/// What went wrong, for people.
type Error = Box<dyn std::error::Error>;

const HELP: &str = "Reports on the delays of the flights that left New York in 2013.

Usage: flights [--input DIR] [--output DIR]

  --input DIR   holds flights.csv, airlines.csv, airports.csv, planes.csv and weather.csv [default: /input]
  --output DIR  gets carriers.csv and routes.csv [default: /output]
";

struct Options {
    input: PathBuf,
    output: PathBuf,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("flights: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Error> {
    let Some(options) = parse_options(std::env::args().skip(1))? else {
        print!("{HELP}");
        return Ok(());
    };
    let tables = data::Tables::read(&options.input)?;
    let mut report = report::Report::new(tables);
    data::read_csv(&options.input, "flights.csv", data::FLIGHT_COLUMNS, |fields| report.add(fields))?;

    let mut stdout = BufWriter::new(io::stdout().lock());
    report.print(&mut stdout)?;
    stdout.flush()?;
    for (name, table) in [("carriers.csv", report.carriers()), ("routes.csv", report.routes())] {
        let path = options.output.join(name);
        fs::write(&path, table.to_csv()?).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    }
    Ok(())
}

/// `None` when help was asked for.
fn parse_options(mut arguments: impl Iterator<Item = String>) -> Result<Option<Options>, Error> {
    let mut options = Options { input: "/input".into(), output: "/output".into() };
    while let Some(argument) = arguments.next() {
        let folder = match argument.as_str() {
            "--input" => &mut options.input,
            "--output" => &mut options.output,
            "--help" | "-h" => return Ok(None),
            other => return Err(format!("unknown argument {other}; try --help").into()),
        };
        *folder = arguments.next().ok_or_else(|| format!("{argument} needs a folder"))?.into();
    }
    Ok(Some(options))
}
