" Ctrl-L in insert mode writes what is missing at the cursor, to the end of its block.
" Put this into your vimrc, and the model into MISTRAL_CLI_MODEL. Needs Vim 8.2.2324 or later.

function! MistralComplete() abort
  let l:text = join(getline(1, '$'), "\n") . "\n"
  let l:place = line('.') . ':' . charcol('.')
  let l:log = tempname()
  let l:new = system('mistral-cli complete -q --block --cursor ' . l:place . ' 2>' . l:log, l:text)
  if v:shell_error
    echomsg join(readfile(l:log), ' ')
    return
  endif
  let l:before = strpart(getline('.'), 0, col('.') - 1)
  let l:after = strpart(getline('.'), col('.') - 1)
  let l:lines = split(l:before . l:new . l:after, "\n", 1)
  call setline('.', l:lines[0])
  call append('.', l:lines[1:])
  call cursor(line('.') + len(l:lines) - 1, len(l:lines[-1]) - len(l:after) + 1)
endfunction

inoremap <C-l> <Cmd>call MistralComplete()<CR>
