package console

import (
	"context"
	"io"
	"testing"
	"time"
)

// endless is input that never makes its reader wait.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// Input that always has more ends with the context, too.
func TestInterruptEndlessInput(t *testing.T) {
	for range 20 {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			_, err := io.Copy(io.Discard, NewReader(ctx, endless{}))
			ended <- err
		}()
		time.Sleep(time.Millisecond)
		cancel()
		select {
		case err := <-ended:
			if err != context.Canceled {
				t.Fatalf("ended with %v", err)
			}
		case <-time.After(time.Minute):
			t.Fatal("reads on after its context ended")
		}
	}
}
