"""What mutants are made of. The verbs to be found are invented, so that nothing here harms anybody who runs it.

`zap` stands for what is refused by its operands, `zudo` for what runs another command. Text that only looks like
them (`zapper`, an argument, a comment) is there to be left alone.
"""

VERBS = frozenset(("zap", "zudo"))

# Commands whose arguments may hold a command: what is refused behind one of these is no false refusal.
_LAUNCHERS = """
. alias awk bash builtin command docker env eval exec find git nice nohup parallel python sh source ssh su time timeout
trap watch xargs
"""
LAUNCHERS = frozenset(_LAUNCHERS.split())

_LINES = r"""
zap -rf /x
zap
/usr/bin/zap -rf "/x y"
zudo make install
echo a; zap -rf /x
make -j4 && zap -rf build
make || zap -rf build
ls | zap -r -f
ls |& zap -r
zap -rf /x & wait
! zap -rf /x
time zap -rf /x
time -p zap -rf /x
coproc zap -rf /x
coproc N { zap -rf /x; }
A=1 B="2 3" zap -rf /x
A=1; zap $A
> log zap -rf /x
zap -rf /x > log 2>&1
2>/dev/null zap < in >> out
zap &> all.log
{ zap -rf /x; }
( zap -rf /x )
(cd /x && zap -rf .)
{ ls; { zap; }; } | cat
if zap -rf /x; then echo y; fi
if true; then zap -rf /x; else ls; fi
if a; then b; elif zap; then c; else d; fi
while zap; do sleep 1; done
until false; do zap -rf /x; done
for i in a b c; do zap -rf "$i"; done
for ((i = 0; i < 3; i++)); do zap $i; done
for i; do zap; done
select x in a b; do zap $x; break; done
case $x in a) zap -rf /x ;; b | c) ls ;; *) ;; esac
case "$1" in (start) zap ;& (stop) ls ;;& esac
f() { zap -rf /x; }; f
function f { zap -rf /x; }
function f() (zap)
f() if true; then zap; fi
echo $(zap -rf /x)
echo "a $(zap -rf /x) b"
echo `zap -rf /x`
echo "`zap -rf /x`"
echo ${x:-$(zap)}
echo "${x:-`zap`}"
a=$(zap) b=1
a=($(zap) x "y z")
a[$(zap)]=1
diff <(zap -rf /x) <(ls)
ls > >(zap)
echo $((1 + $(zap)))
((i = $(zap)))
[[ -n $(zap) && a == b ]]
[ "$(zap)" = x ] && ls
cat <<< "$(zap)"
z'a'p -rf /x
"zap" -rf /x
'zap' -rf /x
\zap -rf /x
z\ap -rf /x
z""ap -rf /x
$'zap' -rf /x
$'\x7aap' -rf /x
$'\172\u0061p' -rf /x
$"zap" -rf /x
"/usr/bin/"zap -rf /x
{zap,-rf,/x}
z{ap,} -rf /x
echo a # zap
zap -rf /x # why
echo "a # b"; zap
echo a#b; zap
echo \"; zap; echo \"
echo \'; zap
echo $#; zap
echo ${#a}; zap
echo "${a[@]}" ${a[*]} ${!a} ${a//x/y} ${a%%.*}; zap
echo ${a/\//"}"}; zap
echo "a\"b"; zap
echo $'it\'s'; zap
echo {1..3} {a,b}c; zap
ls *.[ch] ?x ~/y; zap
[[ $a == !(a|b) ]] && zap
eval zap -rf /x
command zap -rf /x
exec zap
env A=1 zap -rf /x
sh -c 'zap -rf /x'
bash -ec "zap -rf /x"
trap 'zap' EXIT
timeout 5 zap -rf /x
find . -name '*.o' -exec zap -rf {} \;
ls | xargs -n1 zap -rf
alias z='zap -rf'
echo zap -rf /x | sh
sh <<< 'zap -rf /x'
echo "zap -rf /x"
echo zap
zapper -rf /x
./zap.sh /x
git commit -m "drop zap"
grep -rf zap src
awk '{ print $1 }' f | sort | uniq -c > out
sed -e 's/a/b/g' -e "s/$x/y/" f
tar czf x.tgz --exclude='*.o' src && ls -la
[[ $a =~ ^[a-z]+$ ]] && echo yes
test -f a -a ! -d b || exit 1
export A="$B:/x" C=1
local x=1 y
declare -A m=([a]=1 [b]="2 3")
x=$((a << 2 | b)); echo $x
while read -r a b; do echo "$a"; done < f
cd "$(dirname "$0")" && ./run
printf '%s\n' "$@" | tee -a log
set -euo pipefail
echo a > "f $x" 2>&1
return 0
let i=i+1
unset x; shift 2
read -r x <<< "$y"
exec 3>&1 4<f
echo $$ $! $? $- $0 $@ $*
f() { echo "$1"; }
trap - INT
x+=1 zap -rf /x
x[0]+=1; y= zap
B="x y"\; C=$x\' zap
echo "5 $ $(zap)" $ "$"
function f-a { zap -rf /x; }
x=(a [2]=b); zap
a[1<<2]=x; zap
echo $[1 << 2]; zap
{fd}> f zap 3<&- {fd}>&-
cat 3<<< a <<< "b c"; zap
echo "${x:-a 'b' "c"}"; zap
echo "`echo "a b"`"; zap
echo `echo \`zap\``
echo $(case $x in a) ls ;; (b) zap ;; esac)
echo "$(echo "$(zap)" ')')"
[ "$(ls | wc -l)" -gt 2 ] && zap
[[ $x == @(a|b)* ]] || zap
f() { zap; } > log 2>&1
for i in $(ls) `zap`; do ls; done
echo ${x/$(zap)/y} ${x:$((1+1)):2}
"""

_TEXTS = r"""
cat <<A
zap -rf /x
A

cat <<A
x $(zap -rf /x) y
A

cat <<'A' > f
zap `zap` $(zap)
A

cat <<-A | sort; zap -rf /x
	text 'it
	A

cat <<A <<B && zap
one
A
two
B

cat <<"A B"; zap
it's "
A B

zap\
 -rf /x

za\
p -rf /x

echo a &&
  zap -rf /x |
  cat

echo 'a
b'; zap -rf /x

echo "a
b"; zap -rf /x

sh <<'A'
zap -rf /x
A

cat <<A; echo $x
it's ${y:-"z"} \$(zap) \`
A

f() {
  local a=$1   # it's a comment
  zap -rf "$a"
}
f x

# zap
ls

case $x in
  a|b)
    zap -rf /x
    ;;
  "c d") ls ;;
esac

if [ -f x ]; then
  ls
elif [[ $y == z* ]]; then
  zap -rf /x
fi

python - <<'A'
print("zap -rf /x")
A

2\
>&1 zap -rf /x

ls -l
\
zap -rf /x

cat <<A\
B
x
AB
zap

cat <<'A'"B"\C
x
ABC
zap

cat <<"A'B" <<\'C
x
A'B
'C
zap

cat <<A $(cat <<B
b
B
zap)
a
A

x=$(cat <<A
it's $(zap)
A
); ls

if ls <<A; then
a
A
  zap
fi

a[1<<2]=x
zap

x=(
  a   # one
  b
)
zap "${x[@]}"
"""

SEEDS = (*_LINES.strip("\n").split("\n"), *_TEXTS.strip("\n").split("\n\n"))

# What is put in between: operators, quotes, brackets, halves of constructs, and whole ones.
_BARE = r"""
' " \ ` $( ) ( { } ; ;; | |& & && || ! < > >> << <<- <<< <( >( 2>&1 >&2 &> >| <> $' $" ${ ${x} ${x:- ${x/ ${#x} $((
)) (( [[ ]] [ ] # = += a= a=( a[0]= if then else elif fi while until do done for in case esac select function f()
time coproc exec command eval local declare export let zap zudo zapper -rf /x ~ * ? [a] - -- 1 x \' \" \$ \` $ $x $#
$$ $! $? $@ {a,b} {1..3} @( !( +( % ^ , .. : <<A <<'A' <<-A A EOF é
"""
_BLANK = " |\t|\n|\\\n| # |; | )|{ |; }|\nA\n| 'a b' | \"$x\" |zap -rf /x|\nzap\n| && "

PIECES = (*_BARE.split(), *_BLANK.split("|"))
