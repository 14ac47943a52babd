//! The judgement on tokens, key sets and signatures, held against published vectors, against tokens as
//! identity providers make them, and against every attack of the project's list.

mod attacks;
mod captured;
mod cases;
mod host;
pub(crate) mod judge;
mod key_sets;
mod made_cases;
mod made_sets;
mod providers;
mod published;
pub(crate) mod recipes;
mod world;
mod wycheproof;
