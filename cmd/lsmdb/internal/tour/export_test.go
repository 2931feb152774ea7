package tour

// What the tests that run the whole command use of this package.
var (
	Captions      = captions
	Changed       = changed
	IsDeleted     = isDeleted
	IsOverwritten = isOverwritten
	SmallTree     = smallTree
	Minute        = &minute
)
