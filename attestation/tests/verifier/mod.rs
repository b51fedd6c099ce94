//! Tests over recorded evidence, over mutations of it, and over evidence forged under roots of our own.

mod checks;
mod evidence;
mod forge;
mod mutations;
