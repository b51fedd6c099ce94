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
