// Package door leads behind the public API of replica: tests to cables that they can cut.
// Package replica fills it in.
package door

import (
	"context"
	"net"
)

// Dial makes the Start that gets a *replica.Config reach other nodes by another way.
var Dial func(config any, dial func(ctx context.Context, address string) (net.Conn, error))
