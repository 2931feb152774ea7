package planted

// plantedBudget are bugs of the memory budget.
var plantedBudget = []noticed{
	{plantedBug{"a budget that nobody keeps", []edit{
		{"internal/budget/budget.go", "	defer b.relieving.Unlock()\n	b.relieve()\n", "	b.relieving.Unlock()\n"}}}, "./internal/tests/budget", "TestBoundHolds"},
	{plantedBug{"blocks that cost nothing", []edit{
		{"sstable/cache.go", "	c.Account.Add(budget.Cache, size)\n", ""}}}, "./internal/tests/budget", "TestBoundHolds"},
	{plantedBug{"memtables that are not pressed", []edit{
		{"stages/segment.go", "	if account.Pressed() && len(w.published.State().Sealed) > 0 {\n", "	if false {\n"}}}, "./internal/tests/budget", "TestWritersWait"},
	{plantedBug{"readers' memtables that press writers", []edit{
		{"internal/view/state.go", "			m.Keep()\n", ""}}}, "./internal/tests/budget", "TestWhatIsOnlyReadPressesNobody"},
	{plantedBug{"a log that is only read and presses writers", []edit{
		{"db/db.go", "			m.Keep()\n", "			_ = m\n"}}}, "./internal/tests/budget", "TestWhatIsOnlyReadPressesNobody"},
	{plantedBug{"Writers that are asked without end", []edit{
		{"internal/budget/budget.go", "	for range few {\n", "	for range 25 * few {\n"}}}, "./internal/budget", "TestWhoCannotFlushIsNotAskedForEver"},
	{plantedBug{"heirs that take the budget from others", []edit{
		{"sstable/cache.go", " || !c.Account.HasRoom(size)", ""}}}, "./sstable", "TestSuccessionKeepsToTheBudget"},
	{plantedBug{"a flush that nobody is asked for", []edit{
		{"internal/budget/budget.go", "		largest.asked.Store(true)\n", "		return\n"}}}, "./internal/tests/budget", "TestLargestMemtableIsFlushed"},
	{plantedBug{"an idle Writer that is not woken", []edit{
		{"stages/pipeline.go", "	_ = p.enter(now, NewCommit())\n", "	_ = now\n"}}}, "./internal/tests/budget", "TestLargestMemtableIsFlushed"},
	{plantedBug{"the smallest memtable gives way", []edit{
		{"internal/budget/budget.go", "		if bytes > most {\n", "		if bytes > 0 && (most == 0 || bytes < most) {\n"}}}, "./internal/budget", "TestLargestMemtableIsAskedFor"},
	{plantedBug{"tables that are never unloaded", []edit{
		{"sstable/openfiles.go", "			if h.used.And(^usedForUnloading)&usedForUnloading == 0 {\n", "			if false {\n"}}}, "./internal/tests/budget", "TestTablesGiveWay"},
	{plantedBug{"blocks of unloaded tables that come in again", []edit{
		{"sstable/cache.go", "	t.unloaded = t.unloaded || unloaded\n", ""}}}, "./sstable", "TestUnload"},
	{plantedBug{"filters of unloaded tables that are paid for", []edit{
		{"sstable/handle.go", "t.memoryBytes() + t.filter.Swap(none).memoryBytes()", "t.memoryBytes()"}}}, "./sstable", "TestUnload"},
	{plantedBug{"a closed table that is paid for", []edit{
		{"sstable/handle.go", "	h.closed.Store(true)\n	h.unload()\n", "	h.closed.Store(true)\n	h.Retire()\n"}}}, "./internal/tests/budget", "TestAllIsGivenBack"},
	{plantedBug{"closed iterators that are paid for", []edit{
		{"sstable/iterator.go", "nil, nil, nil, false\n	it.reader.rest()\n", "nil, nil, nil, false\n"}}}, "./internal/tests/budget", "TestAllIsGivenBack"},
	{plantedBug{"abandoned tables that are paid for", []edit{
		{"sstable/writer.go", "	w.charge(0)\n", ""}}}, "./internal/tests/budget", "TestAllIsGivenBack"},
	{plantedBug{"a flushed memtable that is paid for", []edit{
		{"internal/view/readers.go", "	m.Release()\n", ""}}}, "./internal/tests/budget", "TestAllIsGivenBack"},
	{plantedBug{"a closed database that is paid for", []edit{
		{"db/db.go", "		d.directory.Account.Close()\n", ""}}}, "./internal/tests/budget", "TestAllIsGivenBack"},
	{plantedBug{"what comes back after the end counts twice", []edit{
		{"internal/budget/budget.go", "a.taken[k].Add(bytes) >= 0 && ", "a.taken[k].Add(bytes) > math.MinInt64 && "}}}, "./internal/budget", "TestCloseGivesAllBack"},
	{plantedBug{"a memory limit that is not looked at", []edit{
		{"sstable/cache.go", "		budget.Look()\n", ""}}}, "./internal/tests/budget", "TestMemoryLimit"},
	{plantedBug{"garbage that does not count", []edit{
		{"internal/budget/budget.go", ") * percent / 100\n", ") * 0 * percent\n"}}}, "./internal/budget", "TestCollectorCounts"},
}
