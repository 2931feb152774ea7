package attach

import (
	"context"
	"net"
	"time"
)

// ServeWith is Serve for people with more or less patience.
var ServeWith = serve

// PatientWrite writes to a connection as answers are written.
func PatientWrite(c net.Conn, p []byte, patience time.Duration) (int, error) {
	return (&connection{Conn: c, patience: patience, ctx: context.Background()}).Write(p)
}
