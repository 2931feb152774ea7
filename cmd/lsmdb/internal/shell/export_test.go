package shell

// CommandNames is for the tests that run the whole command.
var CommandNames = shellCommandNames
