package attach

// ServeWith is Serve for people with more or less patience.
var ServeWith = serve
