package planted

// plantedInsight are bugs of what a database tells of itself.
var plantedInsight = []noticed{
	{plantedBug{"space that takes operands for overwriting", []edit{
		{"internal/view/space.go", "	case base.KindMerge:\n		return merged\n", ""}}}, "./internal/view", "TestSpaceOfFewBlocks"},
	{plantedBug{"space without the range deletes in memory", []edit{
		{"internal/view/space.go", "		if m.RangeDeletes.Newest(user, upTo) > seq {\n", "		if false {\n"}}}, "./internal/view", "TestSpaceOfFewBlocks"},
	{plantedBug{"space that looks for what is newer in level 0 alone", []edit{
		{"internal/view/space.go", "		s.look.levels = append(s.look.levels, level)\n", "		s.look.levels = []int{0}\n"}}}, "./internal/view", "TestSpaceOfFewBlocks"},
	{plantedBug{"space in which each snapshot pins all that is older", []edit{
		{"internal/view/space.go", "s.snapshots[i]); !fate.hidden() {\n", "s.snapshots[i]); err == nil {\n"}}}, "./internal/view", "TestSpaceOfFewBlocks"},
	{plantedBug{"a snapshot that keeps what another one sees as well", []edit{
		{"internal/view/kept.go", "		next = s.snapshots[i+1]\n", "		next = s.at.Seq\n"}}}, "./internal/view", "TestKeptOfKinds"},
	{plantedBug{"space that ends nothing", []edit{
		{"internal/view/space.go", " && e.Until <= s.at.Now:\n", " && e.Until < 0:\n"}}}, "./internal/tests/insight", "TestSpace"},
	{plantedBug{"space of samples from the first half", []edit{
		{"internal/view/space.go", "s.rng.Float64()) / float64(samples) * sum\n", "s.rng.Float64()) / float64(samples) * sum / 2\n"}}}, "./internal/view", "TestSpaceOfManyBlocks"},
	{plantedBug{"space that fills the cache", []edit{
		{"internal/view/space.go", "NoCacheFill: true, KeysOnly: true, E", "KeysOnly: true, E"}}}, "./internal/tests/insight", "TestSpaceIsCheap"},
	{plantedBug{"space that reads everything", []edit{
		{"internal/view/space.go", "	wholeBlocks   = 64\n", "	wholeBlocks   = 64000\n"}}}, "./internal/tests/insight", "TestSpaceIsCheap"},
	{plantedBug{"an explanation that blames the older of two", []edit{
		{"internal/view/get.go", "	l.kind = t.Kind()\n	switch l.kind {\n", "	switch l.kind = t.Kind(); {\n	case l.cover > 0:\n		l.kind = 0\n	}\n	switch t.Kind() {\n"}}}, "./internal/view", "TestEverythingAtEveryNumber"},
	{plantedBug{"an explanation that takes the last operand for the newest", []edit{
		{"internal/view/get.go", "	if t.operand == 0 && len(t.operands) > 0 {\n", "	if len(t.operands) > 0 {\n"}}}, "./internal/view", "TestEverythingAtEveryNumber"},
	{plantedBug{"an explanation with a filter that Get does not ask", []edit{
		{"sstable/sample.go", "	if f == due {\n", "	if f == due || f == later {\n		t.filter.Store(due)\n"}}}, "./internal/tests/insight", "TestExplainCostsWhatGetCosts"},
	{plantedBug{"a copy that goes on when nobody wants it any more", []edit{
		{"internal/checkpoint/checkpoint.go", "	if err := r.ctx.Err(); err != nil {\n		return 0, err\n	}\n	return r.from.Read(p)\n", "	return r.from.Read(p)\n"}}}, "./db/attach", "TestCopyIsGivenUp"},
	{plantedBug{"a copy that links on when nobody wants it any more", []edit{
		{"internal/checkpoint/checkpoint.go", "		if err = cmp.Or(err, ctx.Err()); err == nil {\n", "		if err == nil {\n"}}}, "./internal/tests/checkpoint", "TestLeaving"},
	{plantedBug{"a read that waits on a full disk for somebody who has left", []edit{
		{"internal/beside/direct.go", "inside.Snapshot(ctx, d.DB)", "inside.Snapshot(context.Background(), d.DB)"}}}, "./db/attach", "TestReadsBehindAFullDisk"},
	{plantedBug{"space that waits on a full disk for somebody who has left", []edit{
		{"db/explain.go", "d.lookUntil(ctx, l); err != nil {\n		return Space{}, err\n", "d.lookUntil(context.Background(), l); err != nil {\n		return Space{}, err\n"}}}, "./internal/tests/queued", "TestReadsThatLeave"},
	{plantedBug{"an explanation that waits for longer than its context", []edit{
		{"db/read.go", "	if err := d.catchUpUntil(ctx); err != nil {\n		return err\n	}\n", "	d.catchUp()\n"}}}, "./internal/tests/queued", "TestReadsThatLeave"},
	{plantedBug{"a close that breaks the connections of viewers", []edit{
		{"db/debug/events.go", "			if !h.sampler.finish() {\n				return\n			}\n", "			return\n"}}}, "./db/attach", "TestViewersAreTold"},
	{plantedBug{"a viewer who stalls, and is waited for", []edit{
		{"db/attach/connections.go", "		open.hurry()\n", ""}}}, "./db/attach", "TestStalledReader"},
	{plantedBug{"half a question that is waited for", []edit{
		{"db/attach/connections.go", "		_ = open.SetReadDeadline(past)\n", ""}}}, "./db/attach", "TestHalfAQuestion"},
	{plantedBug{"a process that has left taken for one that was killed", []edit{
		{"internal/beside/client.go", "		return leftError{err}\n", ""}}}, "./db/attach", "TestLeftOrKilled"},
	{plantedBug{"a socket taken from somebody who listens", []edit{
		{"db/attach/attach.go", "	if !nobody(err) {\n", "	if false {\n"}}}, "./db/attach", "TestSomebodyListens"},
	{plantedBug{"a file removed for having the name of the socket", []edit{
		{"db/attach/attach.go", "	case info.Mode().Type() != fs.ModeSocket:\n", "	case info.IsDir():\n"}}}, "./db/attach", "TestRefusals"},
	{plantedBug{"pins without a line", []edit{
		{"internal/view/holders.go", "	return !made\n", "	return made || !made\n"}}}, "./db", "TestWhereMethodsAreCalled"},
	{plantedBug{"a tick of the page that waits for the disk", []edit{
		{"db/debug/sampler.go", "	s.start(func() {\n		start := time.Now()\n		list := s.database.Pins()\n", "	list := s.database.Pins()\n	s.start(func() {\n		start := time.Now()\n"}}}, "./db/debug", "TestHangingDisk"},
}
