//! Posthouse side by side with its peers and with the limits of the machine: `make bench`.

mod load;
mod row;
mod system;

fn main() {}
