//! What a load run has measured, and the forms it is given out in: text, JSON
//! and one HTML page.

pub mod compare;
mod distribution;
mod example;
pub mod generator;
pub mod html;
pub mod json;
mod layout;
mod model;
pub mod plot;
pub mod process;
pub mod progress;
pub mod quantity;
pub mod recorder;
pub mod text;

pub use model::{
    Attacker, BrokerSide, Check, ErrorRow, FORMAT, Generator, Latency, LoadReport, Machine, Point,
    Step, Target, Totals,
};
pub use recorder::{Recorded, Recorder, Sample, StepId, Steps};
