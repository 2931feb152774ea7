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
}
