package replica

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
)

// TestRounds sees that who asks is answered by a question that began after that, however many ask.
func TestRounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answers := make(chan error)
		l := leading{confirm: func() error { return <-answers }}
		first := make(chan error, 1)
		go func() { first <- l.check(t.Context()) }()
		synctest.Wait() // its question is on its way
		late := errors.New("the second answer")
		var others sync.WaitGroup
		for range 5 {
			others.Go(func() {
				if err := l.check(t.Context()); !errors.Is(err, late) {
					t.Errorf("who came during the first question got %v", err)
				}
			})
		}
		synctest.Wait() // all of them wait
		answers <- nil
		if err := <-first; err != nil {
			t.Error(err)
		}
		answers <- late // one question for all five
		others.Wait()
	})
}
