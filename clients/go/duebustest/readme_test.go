package duebustest_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
)

// The README's program and its test are a project of their own, which depends on this module.
func TestTheProgramAndTheTestOfTheReadmeWork(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	module, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	sums, err := os.ReadFile("../go.sum")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllSubmatch(readme, 2)
	project := t.TempDir()
	for name, content := range map[string]string{
		"main.go": string(blocks[0][1]), "main_test.go": string(blocks[1][1]), "go.sum": string(sums),
		"go.mod": "module example.com/shop\n\ngo 1.24.0\n\n" +
			"require github.com/duebus/duebus/clients/go v0.0.0\n\n" +
			"replace github.com/duebus/duebus/clients/go => " + module + "\n",
	} {
		if err := os.WriteFile(filepath.Join(project, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	command := exec.Command("go", "test", "-mod=mod", "-v", ".")
	command.Dir = project
	said, err := command.CombinedOutput()
	if err != nil || !regexp.MustCompile(`--- PASS: TestAnOrderThatIsNotPaidIsCancelled`).Match(said) {
		t.Errorf("%v\n%s", err, said)
	}
}
