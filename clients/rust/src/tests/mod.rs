//! The client against a server whose answers the test decides.

mod calls;
mod fake_bus;
mod work;
