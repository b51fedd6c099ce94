//! Everything that is printed. Results go to standard output, everything else to standard error.

use comfy_table::{ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use phala_attestation::ClaimStatus;
use phala_primitives::JobId;
use phala_sdk::evidence::Check;
use serde::Serialize;
use std::{
    fmt,
    io::{self, IsTerminal, Write},
    sync::Mutex,
    time::Duration,
};

/// How to print.
pub(crate) struct Output {
    json: bool,
    bar: Mutex<Option<ProgressBar>>,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self { json, bar: Mutex::new(None) }
    }

    /// Whether JSON is printed instead of text.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Prints a command's result: as JSON, or as `human` writes it.
    ///
    /// # Errors
    /// The stream's, as for all that follow, but not when whoever reads has enough.
    pub(crate) fn result(&self, value: &impl Serialize, human: impl FnOnce() -> String) -> io::Result<()> {
        let text = if self.json { json(value) } else { human() };
        self.stdout(format!("{}\n", text.trim_end()).as_bytes())
    }

    /// Prints a report beside a command's result: the same to standard error.
    pub(crate) fn report(&self, value: &impl Serialize, human: impl FnOnce() -> String) -> io::Result<()> {
        let text = if self.json { json(value) } else { human() };
        self.stderr(format!("{}\n", text.trim_end()).as_bytes())
    }

    /// Writes bytes to standard output as they are.
    pub(crate) fn stdout(&self, bytes: &[u8]) -> io::Result<()> {
        self.clear();
        write(&mut io::stdout().lock(), bytes)
    }

    /// Writes bytes to standard error as they are.
    pub(crate) fn stderr(&self, bytes: &[u8]) -> io::Result<()> {
        self.clear();
        write(&mut io::stderr().lock(), bytes)
    }

    /// A line for people, to standard error; nothing with `--json`.
    pub(crate) fn note(&self, text: &str) {
        if self.json {
            return;
        }
        match &*self.bar() {
            Some(bar) => bar.suspend(|| say(text)),
            None => say(text),
        }
    }

    /// A warning for people.
    pub(crate) fn warn(&self, text: &str) {
        self.note(&format!("warning: {text}"));
    }

    /// What happens now: one line that changes, if standard error is a terminal.
    pub(crate) fn progress(&self, text: &str) {
        if self.json || !io::stderr().is_terminal() {
            return;
        }
        let mut slot = self.bar();
        let bar = slot.get_or_insert_with(|| {
            let bar = ProgressBar::new_spinner();
            bar.set_style(
                ProgressStyle::with_template("{spinner} {msg} {elapsed:.dim}").expect("the template is valid"),
            );
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        bar.set_message(text.to_owned());
    }

    /// Removes the changing line.
    pub(crate) fn clear(&self) {
        if let Some(bar) = self.bar().take() {
            bar.finish_and_clear();
        }
    }

    /// Prints an error with its causes.
    pub(crate) fn error(&self, error: &anyhow::Error) {
        self.clear();
        let mut causes: Vec<String> = error.chain().map(ToString::to_string).collect();
        // A transparent error says the same as its source.
        causes.dedup();
        let submitted = error.downcast_ref::<Submitted>();
        if self.json {
            let (message, rest) = causes.split_first().map_or(("", &[][..]), |(first, rest)| (first.as_str(), rest));
            let mut value = serde_json::json!({ "error": { "message": message, "causes": rest } });
            if let Some(submitted) = submitted {
                value["error"]["job"] = submitted.0.into();
                value["error"]["next"] = submitted.next().into();
            }
            say(&json(&value));
        } else {
            say(&format!("error: {}", causes.join(": ")));
            if let Some(submitted) = submitted {
                say(&format!("The job is on the chain; go on with `{}`", submitted.next()));
            }
        }
    }

    fn bar(&self) -> std::sync::MutexGuard<'_, Option<ProgressBar>> {
        self.bar.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// The context of what goes wrong after a job's submission.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Submitted(pub JobId);

impl Submitted {
    /// The command that goes on with the job.
    fn next(self) -> String {
        format!("phala job result {}", self.0)
    }
}

impl fmt::Display for Submitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "job {}", self.0)
    }
}

/// Writes everything, unless whoever reads has enough.
fn write(stream: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    match stream.write_all(bytes).and_then(|()| stream.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// A line on standard error for whoever looks there; nobody has to.
fn say(text: &str) {
    let _ = write(&mut io::stderr().lock(), format!("{text}\n").as_bytes());
}

/// JSON over several lines, as everything is printed.
pub(crate) fn json(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).expect("everything that is printed is plain JSON")
}

/// A table without a frame.
pub(crate) fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.iter().map(|name| name.to_uppercase()).collect::<Vec<_>>());
    for row in rows {
        table.add_row(row);
    }
    trim(&table.to_string())
}

/// Names and values below each other.
pub(crate) fn facts(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for (name, value) in rows {
        let value = value.replace('\n', &format!("\n{:indent$}", "", indent = width + 4));
        text.push_str(&format!("  {name:<width$}  {value}\n"));
    }
    text
}

/// Claims, each with whether it was checked.
pub(crate) fn checks(checks: &[Check]) -> String {
    let rows = checks.iter().map(|check| {
        let status = match check.status {
            ClaimStatus::Checked => "checked",
            ClaimStatus::NotChecked => "NOT CHECKED",
        };
        vec![check.claim.clone(), status.to_owned(), check.detail.clone()]
    });
    table(&["claim", "status", "detail"], rows)
}

/// A count of bytes for people.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut tenths = u128::from(count) * 10 / 1024;
    let mut unit = 0;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

/// A number with thin groups: 1,234,567.
pub(crate) fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// An id or hash, short enough for a table.
pub(crate) fn short(id: &impl ToString) -> String {
    let id = id.to_string();
    match id.get(..14) {
        Some(start) if id.len() > 16 => format!("{start}…"),
        _ => id,
    }
}

fn trim(text: &str) -> String {
    text.lines().map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end()).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_numbers_are_readable() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1024), "1.0 KiB");
        assert_eq!(bytes(31_560_704), "30.0 MiB");
        assert_eq!(bytes(u64::MAX), "16383.9 PiB");
        assert_eq!(number(0), "0");
        assert_eq!(number(999), "999");
        assert_eq!(number(1_234_567), "1,234,567");
        assert_eq!(short(&"0x0123456789abcdef0123"), "0x0123456789ab…");
    }

    #[test]
    fn only_a_reader_who_has_enough_is_no_error() {
        struct Fails(io::ErrorKind);
        impl Write for Fails {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(self.0.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        assert!(write(&mut Fails(io::ErrorKind::BrokenPipe), b"x").is_ok());
        assert!(write(&mut Fails(io::ErrorKind::StorageFull), b"x").is_err());
    }

    #[test]
    fn errors_after_a_submission_know_their_job() {
        let error = anyhow::anyhow!("the disk is full").context(Submitted(7)).context("later");
        assert_eq!(error.downcast_ref::<Submitted>().unwrap().next(), "phala job result 7");
        assert_eq!(format!("{error:#}"), "later: job 7: the disk is full");
    }

    #[test]
    fn tables_have_no_frame() {
        let text = table(&["a", "long"], [vec!["1".to_owned(), "2".to_owned()]]);
        assert_eq!(text.lines().count(), 2);
        assert!(text.starts_with('A') && !text.contains('|'));
    }
}
