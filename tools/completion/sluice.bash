# bash completion for sluice(8)                                    -*- shell-script -*-
#
# Knows nothing by heart: objects, commands, keys and their values come from the grammar that
# `sluice help` and `sluice OBJECT help` print, names from what `sluice OBJECT` lists.

# Reads a help text; prints a line for each command: its name, then its arguments in their order:
# VALUE (without a key), KEY=VALUE,VALUE or, of fixed words, KEY=a|b. A "*" behind one: again and
# again. Definitions (STATE := { up | down }) become lines ":STATE up|down".
_sluice_grammar() {
	awk '
	function words_of(text,    list) {
		gsub(/[][{}|]/, " & ", text)
		gsub(/\.\.\./, " & ", text)
		return text
	}
	# The alternatives from token `at` to the closing brace, if they are single small words.
	function fixed_words(at,    text) {
		for (text = ""; token[at] != "}" && at <= count; at++) {
			if (token[at] == "|")
				continue
			if (token[at] !~ /^[a-z0-9]/ || (token[at + 1] != "|" && token[at + 1] != "}"))
				return ""
			text = text (text == "" ? "" : "|") token[at]
		}
		closed_at = at
		return text
	}
	function usage(text,    at, names, items, open, words, item_count, key) {
		sub(/^.*sluice \[OPTIONS\] +/, "", text)
		count = split(words_of(text), token, " ")
		at = 1
		if (token[at] == "{")
			while (token[at] != "}" && at <= count)
				at++
		for (at++; token[at] == "["; at++)
			;
		if (token[at] == "{" && (names = fixed_words(at + 1)) != "")
			at = closed_at
		else
			names = token[at]
		if (names !~ /^[a-z]/)
			return
		item_count = open = 0
		for (at++; at <= count; at++) {
			if (token[at] == "...") {
				if (item_count)
					items[item_count] = items[item_count] "*"
				open = 0
			} else if (token[at] == "{" && (words = fixed_words(at + 1)) != "") {
				if (open)
					items[item_count] = items[item_count] words
				else
					items[++item_count] = words
				at = closed_at
				open = 0
			} else if (token[at] ~ /^[a-z]/) {
				items[++item_count] = token[at] "="
				open = 1
			} else if (token[at] ~ /^[A-Z]/) {
				if (open)
					items[item_count] = items[item_count] \
						(items[item_count] ~ /=$/ ? "" : ",") token[at]
				else
					items[++item_count] = token[at]
			} else if (token[at] == "]") {
				open = 0
			}
		}
		count = split(names, token, "|")
		for (at = 1; at <= count; at++) {
			text = token[at]
			for (key = 1; key <= item_count; key++)
				text = text " " items[key]
			print text
		}
	}
	function define(text,    name, words) {
		name = $1
		sub(/^[^:]*:= */, "", text)
		count = split(words_of(text), token, " ")
		if (token[1] == "{" && (words = fixed_words(2)) != "")
			print ":" name " " words
	}
	function flush() {
		if (held ~ /sluice \[OPTIONS\] +[^ ]/)
			usage(held)
		else if (held ~ /:=/) {
			$0 = held
			define(held)
		}
		held = ""
	}
	/sluice \[OPTIONS\]|:=|^$/ { text = $0; flush(); held = text; next }
	{ held = held " " $0 }
	END { flush() }'
}

# The "name" members of what `sluice -p OBJECT` prints as its rows.
_sluice_names() {
	command sluice "${places[@]}" --timeout 1s -p "$1" 2>/dev/null |
		sed -nE 's/^      "name": "([A-Za-z0-9_-]+)",?$/\1/p'
}

# _sluice_values VALUE KEY OBJECT: prints words, @files or @directories.
_sluice_values() {
	local value=$1 key=$2 object=$3 line

	while read -r line; do
		[[ $line != ":$value "* ]] || {
			echo "${line#* }" | tr '|' ' '
			return
		}
	done <<<"$grammar"
	case $value in
	*[a-z]*) echo "${value//|/ }" ;;
	FILE) echo @files ;;
	DIR) echo @directories ;;
	DEV) ls /sys/class/net ;;
	DURATION) echo '100ms 500ms 1s 5s 10s 1m 10m 1h 24h 7d' ;;
	METHOD) echo 'GET HEAD POST PUT DELETE OPTIONS PATCH' ;;
	NAME | SERVICE | MAP)
		[[ " $objects " != *" $key "* ]] || object=$key
		[[ $key && $key != name && $object != "$key" ]] || _sluice_names "$object"
		;;
	esac
}

# The one word of the list that begins with $1; nothing when there is none or several.
_sluice_meant() {
	local word=$1 found='' candidate
	shift

	for candidate; do
		[[ $candidate != "$word" ]] || {
			echo "$word"
			return
		}
		[[ $candidate != "$word"* ]] || found+=${found:+ }$candidate
	done
	[[ $word && $found != *' '* ]] && echo "$found"
}

# What may come after the words of a command: _sluice_arguments OBJECT ARGUMENTS WORD...
_sluice_arguments() {
	local object=$1 item key word left=''
	local -a positional=() keys=() values=()
	local -A arguments=() used=() again=()

	for item in $2; do
		key=${item%%=*}
		if [[ $item == *=* ]]; then
			keys+=("$key")
			arguments[$key]=${item#*=}
			[[ $item != *'*' ]] || again[$key]=1
			arguments[$key]=${arguments[$key]%'*'}
		else
			positional+=("$item")
		fi
	done
	shift 2
	for word; do
		if [[ $left ]]; then
			left=${left#*,}
			continue
		fi
		if ((${#positional[@]})); then
			# CIDR or `cidr CIDR`.
			[[ $word == "${positional[0],,}" ]] ||
				[[ ${positional[0]} == *'*' ]] || positional=("${positional[@]:1}")
			continue
		fi
		key=$(_sluice_meant "$word" "${keys[@]}")
		[[ $key ]] || return
		used[$key]=1
		left=${arguments[$key]:+${arguments[$key]},}
	done
	if [[ $left ]]; then
		values=("${left%%,*}" "$key")
	elif ((${#positional[@]})); then
		values=("${positional[0]%'*'}" '')
	fi
	if ((${#values[@]})); then
		_sluice_values "${values[@]}" "$object"
		return
	fi
	for key in "${keys[@]}"; do
		[[ ${used[$key]-} && ! ${again[$key]-} ]] || echo "$key"
	done
}

_sluice() {
	local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
	local help objects object='' command='' grammar='' show='' line word index choices=''
	local -a words=() places=() commands=()

	COMPREPLY=()
	help=$(command sluice help 2>/dev/null) || return 0
	objects=${help#*OBJECT := \{}
	objects=$(tr -cs 'a-z\n' ' ' <<<"${objects%%\}*}" | tr '\n' ' ')

	for ((index = 1; index < COMP_CWORD; index++)); do
		word=${COMP_WORDS[index]}
		case $word in
		--socket | --bpffs | --state-dir)
			((index + 1 >= COMP_CWORD)) || places+=("$word" "${COMP_WORDS[index + 1]}")
			((++index))
			;;
		--timeout) ((++index)) ;;
		-*) ;;
		*) words+=("$word") ;;
		esac
	done

	if [[ $previous == --socket ]]; then
		choices=@files
	elif [[ $previous == --bpffs || $previous == --state-dir ]]; then
		choices=@directories
	elif [[ $previous == --timeout ]]; then
		choices=$(_sluice_values DURATION '' '')
	elif [[ $current == -* ]]; then
		choices=$(grep -oE -- '[{| ]--?[a-zA-Z][a-z-]*' <<<"${help#*OPTIONS :=}" | tr -d '{| ')
	elif ((${#words[@]} == 0)); then
		choices="$objects help"
	else
		# shellcheck disable=SC2086 # a list of words
		object=$(_sluice_meant "${words[0]}" $objects help)
		if [[ $object == help ]]; then
			((${#words[@]} > 1)) || choices=$objects
		elif [[ $object ]]; then
			grammar=$(command sluice "$object" help 2>/dev/null | _sluice_grammar)
			while read -r line; do
				[[ $line == :* || ! $line ]] || commands+=("${line%% *}")
				[[ $line != show* ]] || show=${line#show}
			done <<<"$grammar"
			[[ " ${commands[*]} " != *' show '* ]] || commands+=(list)
			if ((${#words[@]} == 1)); then
				choices="${commands[*]} $(_sluice_arguments "$object" "$show")"
			else
				command=$(_sluice_meant "${words[1]}" "${commands[@]}")
				# `show` may be left out in front of its keys.
				[[ $command ]] && words=("${words[@]:2}") || words=("${words[@]:1}")
				[[ $command && $command != list ]] || command=show
				while read -r line; do
					[[ ${line%% *} == "$command" ]] || continue
					[[ $line == *' '* ]] || line+=' '
					choices+=" $(_sluice_arguments "$object" "${line#* }" "${words[@]}")"
				done <<<"$grammar"
			fi
		fi
	fi
	case $choices in
	*@files*) mapfile -t COMPREPLY < <(compgen -f -- "$current") ;;
	*@directories*) mapfile -t COMPREPLY < <(compgen -d -- "$current") ;;
	*) mapfile -t COMPREPLY < <(compgen -W "$choices" -- "$current") ;;
	esac
}

complete -F _sluice sluice
