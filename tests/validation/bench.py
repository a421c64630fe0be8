"""What a verdict costs: `python -m tests.validation.bench`.

Prints microseconds for a plain line and through the grammar, lines a second over rounds of 10,000 and the memory this
process has after each round (V3 of the reliability table), and the worst of the hostile texts (V1). What is measured is
the time of the processor, not the clock.
"""

from __future__ import annotations

import sys
from statistics import median
from time import thread_time

from arrea._prepare.validation.validator import MAX_BYTES, Validator
from tests.validation.hostile import DENSE, MIB, PATTERNS, repeated

ROUNDS = 5
LINES = 10_000
BEST_OF = 7
CALLS = 200

PLAIN = r"""
true
ls -la /tmp
gzip -9 access.log
ffmpeg -i in.mp4 -c:v libx264 -crf 23 out.mp4
convert photo.jpg -resize 800x600 small.jpg
docker run --rm -v /data:/data alpine:3.20 ls /data
grep -rf patterns.txt src
cargo build --release --target x86_64-unknown-linux-gnu
pip install -r requirements.txt
npm run build --silent
kubectl get pods -n default -o wide
tar -czf backup.tgz --exclude=node_modules project
""".strip().split("\n")

THROUGH_THE_GRAMMAR = r"""
make -j4 && ./run "x y" > log 2>&1
cd build && cmake .. -DCMAKE_BUILD_TYPE=Release && make -j8
for f in *.png; do convert "$f" "${f%.png}.jpg"; done
cat access.log | grep 404 | awk '{print $7}' | sort | uniq -c | sort -rn | head -20
[ -f .env ] && . ./.env
test -d out || mkdir -p out
echo "building $TARGET" >&2
python3 -c 'import sys; print(sys.version)'
git commit -m "drop sudo from the scripts"
find . -name '*.pyc' -print
find src -type f -exec wc -l {} +
curl -fsSL https://example.org/a.tgz | tar xz -C /opt
tar cf - src | ssh host 'tar xf - -C /srv'
if [ "$CI" = true ]; then npm ci; else npm install; fi
while read -r line; do echo "$line"; done < list.txt
docker exec web sh -c 'nginx -t && nginx -s reload'
ps aux | grep '[p]ython' | awk '{print $2}'
rsync -avz --delete "$SRC/" user@host:/backup/
export PATH="$HOME/bin:$PATH"; tool --version
A=1 B=2 ./configure --prefix="$PREFIX"
sed -i 's/foo/bar/g' *.txt
jq -r '.items[] | .name' data.json > names.txt
case "$1" in start) run ;; stop) halt_it ;; esac
ls *.txt 2>/dev/null || true
xargs -P4 -n1 gzip < files.txt
timeout 60 ./slow --input "$f" || echo failed
psql -c "select count(*) from users where name like 'a%'" db
nohup ./server > server.log 2>&1 &
printf '%s\n' "$@" | sort -u
mkdir -p dist/{js,css,img}
wait; echo done
gcc -O2 -o app main.c $(pkg-config --cflags --libs gtk4)
(cd sub && make test)
{ date; uptime; } >> status.log
ffmpeg -i "in put.mp4" -vf "scale=1280:-2,fps=30" out.mp4
aws s3 cp s3://bucket/key - | zcat | wc -l
env -i HOME="$HOME" bash -lc 'make test'
pytest -q tests/ -k "not slow" --maxfail=1 || exit 1
for i in $(seq 1 10); do ./step "$i"; done
echo $((1 + 2 * x))
[[ $name =~ ^v[0-9]+ ]] && git tag "$name"
cat <<EOF > config.ini\n[a]\nb = $c\nEOF
kubectl get pods -o json | jq '.items | length'
awk -F, 'NR > 1 { s += $3 } END { print s / NR }' data.csv
trap 'kill $pid' EXIT; ./serve & pid=$!
diff a.txt b.txt > d.txt; [ $? -le 1 ]
time ./bench --n 1000 > /dev/null
perl -pe 's/\r\n/\n/' < dos.txt > unix.txt
convert "$1" -resize 50% "small-$1"
cp -r "$src"/* "$dst"/
CUDA_VISIBLE_DEVICES=0 python train.py --lr 1e-4 --out "runs/$(date +%F)"
terraform plan -out=tf.plan && terraform apply tf.plan
ssh -o BatchMode=yes host "df -h | tail -1"
openssl dgst -sha256 < file | cut -d' ' -f2
go test ./... -run 'TestA|TestB' -count=1
git log --format='%h %s' | head -n 5
sort -t$'\t' -k2,2n table.tsv
test "$(id -u)" -ne 0
npm run lint && npm run test -- --coverage
set -e; set -o pipefail; cat a | gzip > a.gz
""".strip().split("\n")

TYPICAL = [line.replace("\\n", "\n") if "<<" in line else line for line in (*THROUGH_THE_GRAMMAR, *PLAIN)]


def main() -> int:
    judge = Validator(allow_substitution=True)
    for name, lines in (("plain", PLAIN), ("grammar", TYPICAL[: len(THROUGH_THE_GRAMMAR)])):
        _report_costs(judge, name, lines)
    for line in TYPICAL:
        if not (verdict := judge.line(line)).allowed:
            print(f"refused ({verdict.code}): {line!r}")
    before = _memory_kib()
    for number in range(1, ROUNDS + 1):
        took = _round_s(judge, number)
        print(f"round {number}: {LINES / took:,.0f} lines a second, {_memory_kib() - before:+} KiB")
    _report_hostile("a megabyte", PATTERNS, MIB)
    _report_hostile("the longest line", DENSE, MAX_BYTES)
    return 0


def _report_costs(judge: Validator, name: str, lines: list[str]) -> None:
    costs = sorted((_cost_us(judge, line), line) for line in lines)
    least, most = costs[0], costs[-1]
    print(
        f"{name}: median {median(cost for cost, _ in costs):.1f} us, least {least[0]:.1f}, "
        f"most {most[0]:.1f} of {len(lines)} lines: {most[1]!r}"
    )


def _report_hostile(what: str, patterns: dict[str, str], size: int) -> None:
    judge = Validator(allow_substitution=True, _max_bytes=size)
    costs = []
    for name, pattern in patterns.items():
        text = repeated(pattern, size)
        start = thread_time()
        judge.line(text)
        costs.append((thread_time() - start, name))
    told = ", ".join(f"{name} {cost * 1e3:.0f} ms" for cost, name in sorted(costs, reverse=True)[:5])
    print(f"{what}, the worst: {told}")


def _cost_us(judge: Validator, line: str) -> float:
    """The best of some tries."""
    best = float("inf")
    for attempt in range(BEST_OF):
        lines = [_another(line, attempt * CALLS + n) for n in range(CALLS)]
        start = thread_time()
        for each in lines:
            judge.line(each)
        best = min(best, thread_time() - start)
    return best / CALLS * 1e6


def _round_s(judge: Validator, number: int) -> float:
    lines = [_another(TYPICAL[n % len(TYPICAL)], number * LINES + n) for n in range(LINES)]
    start = thread_time()
    for line in lines:
        judge.line(line)
    return thread_time() - start


def _another(line: str, number: int) -> str:
    """A line that was not judged before, so that no memory of earlier ones helps."""
    return f"{line} {number}" if line in PLAIN else f"{line}\n# {number}"


def _memory_kib() -> int:
    """What of this process is in memory: proc(5), statm."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * 4


if __name__ == "__main__":
    sys.exit(main())
