# Run by stackspec_embed(). A raw string keeps the texts readable in a debugger. A bracket in a
# file would confuse CMake's lists, so the text never becomes one: file(READ) and string(APPEND) only.
set(code "#include \"base/embedded.hpp\"\n\nnamespace stackspec {\nnamespace {\nconstexpr EmbeddedFile kFiles[] = {\n")
foreach(file IN LISTS FILES)
  file(READ ${file} text)
  get_filename_component(base ${file} NAME)
  string(APPEND code "{\"${base}\", R\"~embed~(${text})~embed~\"},\n")
endforeach()
string(APPEND code "};\n}  // namespace\nstd::span<const EmbeddedFile> ${NAME}();\nstd::span<const EmbeddedFile> ${NAME}() { return kFiles; }\n}  // namespace stackspec\n")
file(WRITE ${OUT} "${code}")
