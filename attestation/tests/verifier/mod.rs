//! Tests over recorded evidence, over mutations of it, and over evidence forged under roots of our own.

mod checks;
mod documents;
mod evidence;
mod forge;
mod mutations;
