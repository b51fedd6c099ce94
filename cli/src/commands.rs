//! One module for each group of commands.

pub(crate) mod app;
pub(crate) mod balance;
pub(crate) mod class;
pub(crate) mod collateral;
pub(crate) mod encrypt;
pub(crate) mod evidence;
pub(crate) mod gatekeeper;
pub(crate) mod image;
pub(crate) mod job;
pub(crate) mod key;
pub(crate) mod verify;
pub(crate) mod worker;

use anyhow::bail;

/// The only one of `all` whose id begins with `text`; `what` they are, and the command that lists them.
fn find_by_prefix<T>(
    all: Vec<T>,
    id: impl Fn(&T) -> [u8; 32],
    text: &str,
    (what, list): (&str, &str),
) -> anyhow::Result<T> {
    let digits = text.strip_prefix("0x").unwrap_or(text).to_ascii_lowercase();
    let is_it = |one: &T| digits.len() >= 4 && hex::encode(id(one)).starts_with(&digits);
    let mut found: Vec<_> = all.into_iter().filter(is_it).collect();
    match (found.pop(), found.len()) {
        (None, _) => bail!("no {what}'s id begins with `{text}` (at least four digits); see `{list}`"),
        (Some(one), 0) => Ok(one),
        (Some(_), others) => bail!("the ids of {} {what}s begin with `{text}`; give more digits", others + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enclaves_are_found_by_the_beginning_of_their_id() {
        let find = |text| find_by_prefix(vec![[0xab; 32], [0xac; 32], [0xac; 32]], |id| *id, text, ("one", "list"));
        assert_eq!(find("0xabab").unwrap(), [0xab; 32]);
        assert_eq!(find("ABAB").unwrap(), [0xab; 32]);
        for (text, refusal) in [
            ("ab", "no one's id begins with `ab` (at least four digits); see `list`"),
            ("0xabac", "no one's id begins with `0xabac` (at least four digits); see `list`"),
            ("acac", "the ids of 2 ones begin with `acac`; give more digits"),
        ] {
            assert_eq!(find(text).unwrap_err().to_string(), refusal);
        }
    }
}
