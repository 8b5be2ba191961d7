//! The client against a server whose answers the test sets.

mod calls;
mod fake_bus;
mod work;
