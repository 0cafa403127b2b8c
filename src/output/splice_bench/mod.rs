//! What a splice bench found, in every form in which it is given out.
//!
//! | file | what |
//! | --- | --- |
//! | `table` | for people |
//! | `chart` | for people: bars |
//! | `json`, `csv` | for programs |
//! | `words` | what `table` and `chart` have around their figures |

pub mod chart;
pub mod csv;
pub mod json;
pub mod table;
#[cfg(test)]
mod testing;
mod words;
