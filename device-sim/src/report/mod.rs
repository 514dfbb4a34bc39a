//! What a load run has measured, and the forms it is given out in: text, JSON
//! and one HTML page.

mod model;

pub use model::{
    Attacker, BrokerSide, Check, ErrorRow, FORMAT, Generator, Latency, LoadReport, Machine, Point,
    Step, Target, Totals,
};
