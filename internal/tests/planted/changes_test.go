package planted

// plantedChanges are bugs of those who follow what is written.
var plantedChanges = []noticed{
	{plantedBug{"a change told before its sync", []edit{
		{"stages/writer.go", "w.changes.Durable(w.log.Durable())", "w.changes.Durable(w.log.Offset())"}}}, "./internal/tests/changes", "TestWaits"},
	{plantedBug{"a change told and taken by a power failure", []edit{
		{"stages/writer.go", "w.changes.Durable(w.log.Durable())", "w.changes.Durable(w.log.Offset())"}}}, "./internal/tests/crash", "TestCrashSweep"},
	{plantedBug{"a log kept that a killed process has not synced", []edit{
		{"internal/recovery/takeover.go", "	o.syncKept()\n", ""}}}, "./internal/tests/crash", "TestCrashSweep"},
	{plantedBug{"a takeover that removes what is kept", []edit{
		{"internal/recovery/takeover.go", "o.remove(o.isKept)", "o.remove(func(string) bool { return false })"}}}, "./internal/tests/changes", "TestHistories"},
	{plantedBug{"numbers passed over in a segment", []edit{
		{"internal/changes/loop.go", "	if h.First != o.next {\n", "	if false {\n"}}}, "./internal/changes", "TestHoles"},
	{plantedBug{"numbers passed over between segments (rdb 10268)", []edit{
		{"internal/changes/loop.go", "return g, o.fail(p, base.Corruptf(l.path(p.Segment), -1, \"ends before sequence number %d, though what follows it begins with %d\", wanted, next))", "o.position.Store(uint64(next) - 1)"}}}, "./internal/changes", "TestHoles"},
	{plantedBug{"changes trimmed without a word (rocksplicator 599)", []edit{
		{"internal/changes/log.go", "	if i < 0 {\n", "	if i = max(i, 0); false {\n"}}}, "./internal/changes", "TestTrim"},
	{plantedBug{"a batch told again from its beginning", []edit{
		{"internal/changes/loop.go", "	for h.First <= position {\n", "	for false {\n"}}}, "./internal/tests/changes", "TestAfter"},
	{plantedBug{"a loop that takes what it needs for needless", []edit{
		{"internal/changes/log.go", "needed, limit = l.oldestLoop(nil), LoopBytes", "needed, limit = base.MaxSeq, LoopBytes"}}}, "./internal/tests/changes", "TestKeptForALoop"},
	{plantedBug{"more logs kept than the bound", []edit{
		{"internal/changes/log.go", "sum > limit || ", "sum > 2*limit || "}}}, "./internal/tests/changes", "TestBoundOfWhatIsKept"},
	{plantedBug{"the newest logs dropped instead of the oldest", []edit{
		{"internal/recovery/replay.go", "		slices.Reverse(r.kept)\n", ""}}}, "./internal/tests/changes", "TestHistories"},
	{plantedBug{"a load that nobody is told of", []edit{
		{"stages/load.go", "	w.changes.Load(l.loaded())\n", ""}}}, "./internal/tests/changes", "TestWaits"},
	{plantedBug{"a load that the MANIFEST does not tell", []edit{
		{"stages/load.go", "	if f.env.KeepChangesBytes > 0 {\n", "	if false {\n"}}}, "./internal/tests/changes", "TestLoads"},
	{plantedBug{"a load that the next MANIFEST does not tell", []edit{
		{"manifest/apply.go", ", Loaded: s.Loaded}", "}"}}}, "./internal/tests/changes", "TestLoads"},
	{plantedBug{"a load that a segment does not know of", []edit{
		{"internal/changes/loop.go", "	o.next = max(o.next, p.First)", "	//"}}}, "./internal/changes", "TestLoop"},
	{plantedBug{"a loop that nobody wakes", []edit{
		{"internal/changes/log.go", "	if l.waiting.Load() > 0 {\n", "	if false {\n"}}}, "./internal/tests/changes", "TestWaits"},
	{plantedBug{"a Close that leaves loops waiting", []edit{
		{"db/db.go", "			d.pipeline.Changes.Close()\n", ""}}}, "./internal/tests/changes", "TestWaits"},
	{plantedBug{"a file that a loop leaves open", []edit{
		{"internal/changes/loop.go", "	o.closeFile()\n	l := o.log\n", "	l := o.log\n"}}}, "./internal/tests/changes", "TestWhatIsHeld"},
	{plantedBug{"a loop that sees no more of a log than at first", []edit{
		{"internal/changes/loop.go", "		o.reader.Extend(durable)\n", ""}}}, "./internal/changes", "TestLoop"},
	{plantedBug{"damage that ends all loops for good", []edit{
		{"internal/changes/loop.go", "		o.log.drop(p.Segment)\n", ""}}}, "./internal/tests/changes", "TestDamage"},
}
