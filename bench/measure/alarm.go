package measure

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Alarm wakes one goroutine at given times. It is a timer of the system that Go's poller
// waits for, as for a request from the network. time.Sleep would be late by up to a
// millisecond.
type Alarm struct {
	descriptor int
	file       *os.File // the same one
}

// NewAlarm returns an alarm for one goroutine.
func NewAlarm() (*Alarm, error) {
	descriptor, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create timer: %w", err)
	}
	return &Alarm{descriptor: descriptor, file: os.NewFile(uintptr(descriptor), "timer")}, nil
}

// Sleep returns after d, and at once if d is not positive.
func (a *Alarm) Sleep(d time.Duration) error {
	if d <= 0 {
		return nil
	}
	when := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(d))}
	if err := unix.TimerfdSettime(a.descriptor, 0, &when, nil); err != nil {
		return fmt.Errorf("set timer: %w", err)
	}
	var expirations [8]byte
	_, err := a.file.Read(expirations[:])
	return err
}

// Close gives the timer back.
func (a *Alarm) Close() error { return a.file.Close() }
