package io.duebus.driver;

/** A command that the driver does not know, or whose arguments it can't read. */
final class DriverError extends RuntimeException {
    private static final long serialVersionUID = 1;

    DriverError(String message) {
        super(message);
    }
}
