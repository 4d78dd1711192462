# ruff: noqa: E501  (tables read better unwrapped)
"""General knowledge: facts that belong to no table. One line each:
`question|question|*question => right/also right => wrong,wrong => statement with {y}`; a star marks a held-out question."""

_LINES = """
how many days are in a week|how many days does a week have|days in a week|number of days in a week|how many days make a week|*a week has how many days => 7/seven => 5,6,8,10 => A week has {y} days.
how many months are in a year|how many months does a year have|months in a year|number of months in a year|*a year has how many months => 12/twelve => 10,11,13 => A year has {y} months.
how many hours are in a day|how many hours does a day have|hours in a day|number of hours in a day|*a day has how many hours => 24/twenty-four => 12,20,25 => A day has {y} hours.
how many minutes are in an hour|how many minutes does an hour have|minutes in an hour|*an hour has how many minutes => 60/sixty => 50,100,30 => An hour has {y} minutes.
how many seconds are in a minute|how many seconds does a minute have|seconds in a minute|*a minute has how many seconds => 60/sixty => 50,100,30 => A minute has {y} seconds.
how many days are in a year|how many days does a year have|days in a year|*a year has how many days => 365 => 360,300,356 => A year has {y} days.
how many weeks are in a year|how many weeks does a year have|weeks in a year|*a year has how many weeks => 52 => 50,48,60 => A year has {y} weeks.
how many seasons are there|how many seasons does a year have|number of seasons|how many seasons in a year|*a year has how many seasons => 4/four => 3,5,6 => There are {y} seasons.
how many continents are there|number of continents|how many continents does the earth have|*count of continents on earth => 7/seven => 5,6,8 => There are {y} continents.
how many planets are there|how many planets are in the solar system|number of planets|how many planets go around the sun|*the solar system has how many planets => 8/eight => 7,9,10 => The solar system has {y} planets.
how many letters are in the alphabet|how many letters does the alphabet have|letters in the alphabet|*the alphabet has how many letters => 26 => 24,25,28 => The alphabet has {y} letters.
how many sides does a triangle have|how many sides has a triangle|sides of a triangle|triangle how many sides|*a triangle has how many sides => 3/three => 4,5,6 => A triangle has {y} sides.
how many sides does a square have|how many sides has a square|sides of a square|square how many sides|*a square has how many sides => 4/four => 3,5,6 => A square has {y} sides.
how many sides does a hexagon have|sides of a hexagon|how many sides has a hexagon|*a hexagon has how many sides => 6/six => 5,7,8 => A hexagon has {y} sides.
how many fingers are on one hand|how many fingers does a hand have|fingers on a hand|how many fingers do you have on a hand|*a hand has how many fingers => 5/five => 4,6,10 => A hand has {y} fingers.
how many toes do people have|how many toes does a person have|number of toes|*a person has how many toes => 10/ten => 8,5,12 => A person has {y} toes.
how many eyes do people have|how many eyes does a person have|number of eyes of a human|*a person has how many eyes => 2/two => 1,3,4 => A person has {y} eyes.
how many wheels does a car have|how many wheels has a car|wheels on a car|car how many wheels|*a car has how many wheels => 4/four => 3,2,6 => A car has {y} wheels.
how many wheels does a bicycle have|how many wheels has a bike|wheels on a bike|how many wheels does a bike have|*a bicycle has how many wheels => 2/two => 3,4,1 => A bicycle has {y} wheels.
how many wheels does a tricycle have|wheels on a tricycle|*a tricycle has how many wheels => 3/three => 2,4,5 => A tricycle has {y} wheels.
how many players are in a football team|how many players has a soccer team|players in a football team|*a football team has how many players => 11/eleven => 9,10,12 => A football team has {y} players.
how many strings does a violin have|strings on a violin|violin how many strings|*a violin has how many strings => 4/four => 3,5,6 => A violin has {y} strings.
how many strings does a guitar have|strings on a guitar|guitar how many strings|*a guitar has how many strings => 6/six => 4,5,8 => A guitar has {y} strings.
how many years are in a century|how long is a century|years in a century|*a century has how many years => 100/hundred => 10,50,1000 => A century has {y} years.
how many years are in a decade|how long is a decade|years in a decade|*a decade has how many years => 10/ten => 5,20,100 => A decade has {y} years.
how many eggs are in a dozen|what is a dozen|how many is a dozen|how many things are in a dozen|*a dozen is how many => 12/twelve => 10,6,20 => A dozen is {y}.
how many centimetres are in a metre|how many centimeters in a meter|centimetres in a metre|*a metre has how many centimetres => 100/hundred => 10,50,1000 => A metre has {y} centimetres.
how many metres are in a kilometre|how many meters in a kilometer|metres in a kilometre|*a kilometre has how many metres => 1000/thousand => 100,10,500 => A kilometre has {y} metres.
how many grams are in a kilogram|grams in a kilo|how many grams in a kilo|*a kilogram has how many grams => 1000/thousand => 100,10,500 => A kilogram has {y} grams.
what is the biggest planet|which planet is the biggest|largest planet|biggest planet|what is the largest planet|*the planet that is biggest is which => Jupiter => Mars,Saturn,Earth => The biggest planet is {y}.
what is the smallest planet|which planet is the smallest|smallest planet|*the planet that is smallest is which => Mercury => Mars,Venus,Earth => The smallest planet is {y}.
which planet is closest to the sun|what planet is nearest to the sun|closest planet to the sun|nearest planet to the sun|*the planet next to the sun is which => Mercury => Mars,Venus,Earth => The planet closest to the sun is {y}.
which planet is called the red planet|what is the red planet|red planet name|which planet is red|*the red planet is which one => Mars => Venus,Saturn,Jupiter => The red planet is {y}.
which planet do we live on|what planet do we live on|what is our planet called|our planet|name of our planet|*people live on which planet => Earth => Mars,Venus,Saturn => We live on {y}.
which planet has rings|what planet has big rings|planet with rings|*the planet with rings is which => Saturn => Mars,Venus,Mercury => The planet with rings is {y}.
what is the biggest animal|which animal is the biggest|largest animal|biggest animal in the world|what is the largest animal|*the biggest of all animals is which => blue whale/whale => elephant,giraffe,bear => The biggest animal is the {y}.
what is the tallest animal|which animal is the tallest|tallest animal|animal with the longest neck|which animal has a long neck|*the tallest of all animals is which => giraffe => elephant,lion,bear => The tallest animal is the {y}.
what is the fastest animal|which animal is the fastest|fastest land animal|fastest animal|what is the fastest land animal|*the fastest of all land animals is which => cheetah => lion,horse,dog => The fastest land animal is the {y}.
which animal is the king of the jungle|king of the jungle|who is the king of the jungle|who is the king of animals|*the jungle has which king => lion => tiger,bear,wolf => The king of the jungle is the {y}.
which animal has a trunk|what animal has a trunk|animal with a trunk|*a trunk belongs to which animal => elephant => giraffe,lion,horse => The animal with a trunk is the {y}.
which animal has black and white stripes|what animal has stripes|animal with black and white stripes|*black and white stripes belong to which animal => zebra => lion,bear,horse => The animal with black and white stripes is the {y}.
which bird cannot fly|name a bird that cannot fly|bird that can't fly|what bird can not fly|*a bird without flight is which => penguin/ostrich => eagle,crow,owl => The {y} cannot fly.
which animal gives us milk|what animal gives milk|who gives us milk|*milk is given by which animal => cow/goat => dog,horse,lion => The {y} gives us milk.
which animal gives us wool|what animal gives wool|who gives us wool|*wool is given by which animal => sheep => dog,horse,pig => The {y} gives us wool.
who makes honey|what makes honey|which animal makes honey|which insect makes honey|honey is made by|*honey is made by whom => bee/bees => ant,fly,bird => The {y} makes honey.
what is the largest ocean|which ocean is the biggest|biggest ocean|largest ocean|*the biggest of all oceans is which => Pacific => Atlantic,Indian,Arctic => The largest ocean is the {y}.
what is the longest river|which river is the longest|longest river in the world|longest river|*the longest of all rivers is which => Nile/Amazon => Rhine,Danube,Thames => The longest river is the {y}.
what is the highest mountain|which mountain is the highest|highest mountain in the world|tallest mountain|*the highest of all mountains is which => Everest/Mount Everest => Mont Blanc,Kilimanjaro,Fuji => The highest mountain is {y}.
what is the largest country|which country is the biggest|biggest country in the world|largest country|*the biggest of all countries is which => Russia => China,Canada,Brazil => The largest country is {y}.
what is the smallest country|which country is the smallest|smallest country in the world|*the smallest of all countries is which => Vatican City/Vatican => Malta,Cuba,Iceland => The smallest country is {y}.
what is the largest continent|which continent is the biggest|biggest continent|largest continent|*the biggest of all continents is which => Asia => Africa,Europe,Australia => The largest continent is {y}.
what is the coldest continent|which continent is the coldest|coldest place on earth|coldest continent|*the coldest of all continents is which => Antarctica => Asia,Europe,Africa => The coldest continent is {y}.
what is the largest desert|which hot desert is the biggest|biggest hot desert|*the biggest of all hot deserts is which => Sahara => Gobi,Kalahari,Negev => The largest hot desert is the {y}.
where is the eiffel tower|in which city is the eiffel tower|eiffel tower city|which city has the eiffel tower|eiffel tower where|*the eiffel tower stands in which city => Paris => London,Rome,Berlin => The Eiffel Tower is in {y}.
where is big ben|in which city is big ben|big ben city|which city has big ben|big ben where|*big ben stands in which city => London => Paris,Rome,Berlin => Big Ben is in {y}.
where is the colosseum|in which city is the colosseum|colosseum city|which city has the colosseum|*the colosseum stands in which city => Rome => Paris,London,Athens => The Colosseum is in {y}.
where is the statue of liberty|in which city is the statue of liberty|statue of liberty city|*the statue of liberty stands in which city => New York => Paris,London,Boston => The Statue of Liberty is in {y}.
where are the pyramids|in which country are the pyramids|pyramids country|which country has the pyramids|*the pyramids stand in which country => Egypt => Greece,India,Spain => The pyramids are in {y}.
where is the great wall|which country has the great wall|great wall country|where is the great wall of china|*the great wall stands in which country => China => Japan,India,Russia => The Great Wall is in {y}.
where does pizza come from|which country does pizza come from|who invented pizza|pizza comes from|*pizza was first made in which country => Italy => France,Spain,Greece => Pizza comes from {y}.
where does sushi come from|which country does sushi come from|sushi comes from|*sushi was first made in which country => Japan => China,Korea,India => Sushi comes from {y}.
what is frozen water called|what is frozen water|name of frozen water|what do we call frozen water|what does water become when it freezes|*water that is frozen is called what => ice => steam,rain,fog => Frozen water is called {y}.
what does water become when it boils|what is hot water gas called|what is boiling water turning into|boiling water becomes|*water that boils becomes what => steam/vapour/vapor => ice,snow,oil => Boiling water becomes {y}.
at what temperature does water boil|when does water boil|boiling point of water|what is the boiling point of water|*water boils at how many degrees => 100/hundred => 50,90,80 => Water boils at {y} degrees Celsius.
at what temperature does water freeze|when does water freeze|freezing point of water|what is the freezing point of water|*water freezes at how many degrees => 0/zero => 10,5,20 => Water freezes at {y} degrees Celsius.
what is water made of|what is the formula of water|formula for water|chemical formula of water|*water has which formula => H2O/hydrogen/oxygen => CO2,NaCl => The formula of water is {y}.
what gas do we breathe|which gas do people need to breathe|what do we breathe in|gas we need to live|*people breathe in which gas => oxygen/air => helium,smoke,steam => We need to breathe {y}.
what do plants need to grow|what does a plant need|what do plants need|plants need what|*plants grow when they have what => water/light/sun => salt,sand,glass => Plants need {y} and light to grow.
where does the sun rise|in which direction does the sun rise|the sun rises in the|sun rises where|*the sun comes up in which direction => east => west,north,south => The sun rises in the {y}.
where does the sun set|in which direction does the sun set|the sun sets in the|sun sets where|*the sun goes down in which direction => west => east,north,south => The sun sets in the {y}.
what is at the centre of the solar system|what is in the middle of the solar system|what does the earth go around|the earth goes around the|what does the earth orbit|*the earth moves around what => sun => moon,Mars,Venus => The earth goes around the {y}.
what goes around the earth|what moves around the earth|what orbits the earth|*which body circles the earth => moon => sun,Mars,Venus => The {y} goes around the earth.
is the sun a star or a planet|what is the sun|what kind of thing is the sun|sun is a star or planet|*the sun is what kind of body => star => planet,moon,cloud => The sun is a {y}.
which is the coldest season|what is the coldest season|coldest season|in which season does it snow|when does it snow|*snow falls in which season => winter => summer,spring,autumn => The coldest season is {y}.
which is the hottest season|what is the hottest season|hottest season|warmest season|*the hottest of the seasons is which => summer => winter,spring,autumn => The hottest season is {y}.
when do flowers start to bloom|in which season do flowers bloom|season when flowers bloom|season of flowers|*flowers bloom in which season => spring => winter,autumn => Flowers bloom in {y}.
when do leaves fall|in which season do leaves fall|season when leaves fall|leaves fall in|*leaves come down in which season => autumn/fall => winter,spring,summer => Leaves fall in {y}.
when is christmas|in which month is christmas|christmas month|what month is christmas in|*christmas comes in which month => December => May,March,June => Christmas is in {y}.
what is the first month|which month is first|first month of the year|first month|*the year starts with which month => January => March,May,December => The first month is {y}.
what is the last month|which month is last|last month of the year|last month|*the year ends with which month => December => January,May,March => The last month of the year is {y}.
which month is the shortest|what is the shortest month|shortest month|*the shortest of the months is which => February => March,June,April => The shortest month is {y}.
which days are the weekend|what days are the weekend|weekend days|when is the weekend|*the weekend is made of which days => Saturday/Sunday => Monday,Tuesday,Friday => The weekend is {y} and Sunday.
what is the first letter of the alphabet|first letter|first letter of the alphabet|*the alphabet starts with which letter => A => B,C,D => The first letter of the alphabet is {y}.
what is the last letter of the alphabet|last letter|last letter of the alphabet|*the alphabet ends with which letter => Z => X,Y,W => The last letter of the alphabet is {y}.
what shape is a ball|what is the shape of a ball|ball shape|*a ball has which shape => round/sphere => square,flat,long => A ball is {y}.
what shape is the earth|what is the shape of the earth|is the earth flat|is the earth flat or round|earth shape|*the earth has which shape => round/sphere => flat,square,long => The earth is {y}.
what is the hardest stone|which stone is the hardest|hardest material|what is the hardest gem|*the hardest of all stones is which => diamond => chalk,marble,clay => The hardest stone is the {y}.
what is the biggest organ of the body|largest organ|biggest organ of the body|*the body has which biggest organ => skin => heart,liver,brain => The biggest organ is the {y}.
what colour is a traffic light for stop|which light means stop|which colour means stop|colour for stop|*stop is shown by which light => red => green,blue,white => {y} means stop.
what colour is a traffic light for go|which light means go|which colour means go|colour for go|*go is shown by which light => green => red,blue,white => {y} means go.
how many colours are in a rainbow|colours in a rainbow|how many colors does a rainbow have|*a rainbow has how many colours => 7/seven => 5,6,9 => A rainbow has {y} colours.
which is heavier a stone or a feather|what is heavier a feather or a stone|stone or feather what is heavier|*of a feather and a stone which weighs more => stone => feather => The {y} is heavier.
which is bigger an elephant or a mouse|what is bigger a mouse or an elephant|elephant or mouse which is bigger|*of a mouse and an elephant which is larger => elephant => mouse => The {y} is bigger.
which is faster a car or a bike|what is faster a bike or a car|car or bike what is faster|*of a bike and a car which goes faster => car => bike => The {y} is faster.
which is hotter fire or ice|what is hotter ice or fire|fire or ice what is hotter|*of ice and fire which is hotter => fire => ice => {y} is hotter.
which is bigger the sun or the moon|what is bigger the moon or the sun|sun or moon which is bigger|is the sun bigger than the moon|*of the moon and the sun which is larger => sun => moon => The {y} is bigger.
who wrote romeo and juliet|who is the author of romeo and juliet|romeo and juliet author|who wrote hamlet|*hamlet was written by whom => Shakespeare => Goethe,Dickens,Homer => {y} wrote it.
who painted the mona lisa|mona lisa painter|who made the mona lisa|*the mona lisa was painted by whom => Leonardo da Vinci/Leonardo/da Vinci => Picasso,Monet,Rembrandt => {y} painted the Mona Lisa.
who was the first man on the moon|who first walked on the moon|first person on the moon|who landed on the moon first|*the moon was first walked on by whom => Neil Armstrong/Armstrong => Newton,Columbus,Einstein => {y} was the first man on the moon.
who discovered gravity|who found the law of gravity|gravity discovered by|*gravity was discovered by whom => Newton => Einstein,Darwin,Columbus => {y} discovered gravity.
who sailed to america in 1492|who discovered america|america discovered by|*america was reached in 1492 by whom => Columbus => Newton,Darwin,Magellan => {y} sailed to America in 1492.
who invented the light bulb|light bulb inventor|who made the light bulb|*the light bulb was invented by whom => Edison => Newton,Bell,Darwin => {y} invented the light bulb.
who invented the telephone|telephone inventor|who made the first phone|*the telephone was invented by whom => Bell => Edison,Newton,Darwin => {y} invented the telephone.
what do bees make|what does a bee make|bees make|bees make what|*a bee is the maker of what => honey => milk,wool,silk => Bees make {y}.
what do cows give us|what does a cow give us|cows give us|what do we get from cows|*a cow is the giver of what => milk => honey,wool,silk => Cows give us {y}.
what do hens lay|what does a hen lay|hens lay|what do chickens lay|*a hen is the layer of what => eggs => milk,wool,honey => Hens lay {y}.
what falls from clouds|what comes from clouds|what falls from the sky when it is wet|clouds bring|*clouds drop what => rain/snow => sand,milk,stones => {y} falls from clouds.
what is the currency of japan|japan money|which money does japan use|*people in japan pay with what => yen => euro,dollar,pound => Japan uses the {y}.
what is the currency of the usa|american money|which money does america use|currency of the united states|*people in america pay with what => dollar => euro,yen,pound => America uses the {y}.
what is the currency of england|british money|which money does england use|currency of the uk|*people in england pay with what => pound => euro,dollar,yen => England uses the {y}.
what is the currency of germany|german money|which money does germany use|which money does france use|currency of france|*people in germany pay with what => euro => dollar,yen,pound => Germany and France use the {y}.
what do you do with a book|what is a book for|what are books for|book use|*a book is there to do what => read => eat,drive,wear => You {y} a book.
what do you do with a bed|what is a bed for|what are beds for|*a bed is there to do what => sleep => eat,drive,wear => You {y} in a bed.
what do you wear on your head|what goes on your head|thing to wear on the head|*on the head people wear what => hat/cap => shoe,sock,glove => You wear a {y} on your head.
what do you wear on your feet|what goes on your feet|thing to wear on the feet|*on the feet people wear what => shoes/socks => hats,gloves,scarves => You wear {y} on your feet.
what do you wear on your hands|what goes on your hands in winter|thing to wear on the hands|*on the hands people wear what => gloves/mittens => hats,shoes,scarves => You wear {y} on your hands.
what is ice made of|what is snow made of|ice is made of|*ice is formed of what => water => milk,sand,sugar => It is made of frozen {y}.
"""


def _parse(line: str) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...], str]:
    questions, right, wrong, statement = (part.strip() for part in line.split("=>"))
    return tuple(questions.split("|")), tuple(right.split("/")), tuple(wrong.split(",")), statement


GENERAL = tuple(_parse(line) for line in _LINES.strip().splitlines())
